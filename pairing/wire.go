package pairing

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/form"
	"github.com/latchkey-dev/latchkey/internal/pake"
)

// A message is what a client posts: one of three kinds, told apart by their
// fields.
type message struct {
	kind    kind
	request Request
	bytes   []byte // of a share or a confirmation
}

type kind int

const (
	isRequest kind = iota // {"user","name","invite"}
	isShare               // {"share"}
	isConfirm             // {"confirm"}
)

// parseMessage reads what was posted for mode. What is not exactly one kind of
// message is latchkey.ErrProtocol.
func parseMessage(mode Modes, text []byte) (message, error) {
	m := message{request: Request{Mode: mode}}
	var share, confirm string
	var seen map[string]bool
	err := checkText(text)
	if err == nil {
		seen, err = form.Read(text, map[string]any{
			"user": &m.request.User, "name": &m.request.Name, "invite": &m.request.Invite,
			"share": &share, "confirm": &confirm,
		})
	}
	switch {
	case err != nil:
	case !seen["share"] && !seen["confirm"]:
		err = m.request.check()
		if err == nil && seen["invite"] && mode != Invite {
			err = errors.New("an invitation without the mode invite")
		}
	case len(seen) > 1:
		err = errors.New("fields of several messages in one")
	case !passwordModes.Has(mode) || len(mode.Names()) != 1:
		err = errors.New("a mode without a password")
	case seen["share"]:
		m.kind = isShare
		m.bytes, err = parseBytes(share, pake.ShareSize)
	default:
		m.kind = isConfirm
		m.bytes, err = parseBytes(confirm, pake.ConfirmSize)
	}
	if err != nil {
		return message{}, fmt.Errorf("%w: pairing message: %w", latchkey.ErrProtocol, err)
	}
	return m, nil
}

// A posted is a message of a client after its request.
type posted struct {
	Share   string `json:"share,omitempty"`
	Confirm string `json:"confirm,omitempty"`
}

// An answer is what the device says while an exchange is under way, always with
// 2.04: salt and costs to the request, share and confirmation to the share.
type answer struct {
	ID      string `json:"id,omitempty"` // PRODUCT/DEVICE
	Salt    string `json:"salt,omitempty"`
	Time    uint32 `json:"time,omitempty"`
	Memory  uint32 `json:"memory,omitempty"` // KiB
	Threads uint8  `json:"threads,omitempty"`

	Share   string `json:"share,omitempty"`
	Confirm string `json:"confirm,omitempty"`
}

func (a answer) encode() (coapCode uint8, text []byte, err error) {
	text, err = json.Marshal(a)
	return changed, text, err
}

func formatBytes(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// parseBytes reads base64url without padding (RFC 4648 section 5) of exactly
// size bytes.
func parseBytes(text string, size int) ([]byte, error) {
	// The length is checked too, because the decoder skips line breaks.
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != size || len(text) != base64.RawURLEncoding.EncodedLen(size) {
		return nil, fmt.Errorf("not base64url of %d bytes", size)
	}
	return b, nil
}

// inviteSize is the length in bytes of the random id of an invitation.
const inviteSize = 16

func isInviteID(s string) bool {
	_, err := parseBytes(s, inviteSize)
	return err == nil
}

// contextLabel begins the context of every exchange and gives its form a number.
const contextLabel = "latchkey-pairing/1"

// context is what both sides must agree on beside the password: who they are, in
// which session, and what was asked for. Each part stands behind its length in 8
// bytes, the least significant first.
func (r Request) context(client, device latchkey.Fingerprint, binding []byte) string {
	var b []byte
	for _, part := range [][]byte{
		[]byte(contextLabel), []byte(r.Mode.String()), client.Bytes(), device.Bytes(), binding, []byte(r.User), []byte(r.Name),
	} {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	return string(b)
}

// checkBinding refuses what no session exports.
func checkBinding(binding []byte) error {
	if n := len(binding); n != 0 && n != BindingSize {
		return fmt.Errorf("%w: a binding of %d bytes", latchkey.ErrInternal, n)
	}
	return nil
}
