package pairing

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/form"
)

const (
	// MaxMessage is the length in bytes above which no message is read.
	MaxMessage = 1024
	// MaxKeyName is the longest name of a key in bytes.
	MaxKeyName = 64

	// CoAP response codes of a success (RFC 7252 section 5.9.1).
	created = 2<<5 | 1
	changed = 2<<5 | 4
)

// A Request is what a client posts to /pairing/MODE:
//
//	{"user":"alice","name":"laptop"}
type Request struct {
	Mode Modes  // the one mode that the client pairs by; not in the text
	User string // the user to become; acl.CheckUserName says what is possible
	Name string // what people call the key; up to MaxKeyName bytes, may be empty

	// Invite is the id of an invitation, for the mode of that name alone. It
	// says who the user will be; User may be empty then, and no other.
	Invite string
}

// Encode returns the text of r, or why there is none.
func (r Request) Encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		User   string `json:"user,omitempty"`
		Name   string `json:"name,omitempty"`
		Invite string `json:"invite,omitempty"`
	}{r.User, r.Name, r.Invite})
}

func (r Request) check() error {
	if len(r.Mode.Names()) != 1 || r.Mode&^allModes() != 0 {
		return errors.New("not exactly one pairing mode")
	}
	if (r.Mode == Invite) != (r.Invite != "") {
		return errors.New("the id of an invitation goes with the mode invite, and only with that")
	}
	if r.Invite != "" && !isInviteID(r.Invite) {
		return errors.New("not the id of an invitation")
	}
	if r.User != "" || r.Mode != Invite {
		if err := acl.CheckUserName(r.User); err != nil {
			return err
		}
	}
	if len(r.Name) > MaxKeyName || !form.Printable(r.Name) {
		return fmt.Errorf("a key name is up to %d bytes of text", MaxKeyName)
	}
	return nil
}

// A Reply is the device's answer to a pairing that succeeded.
type Reply struct {
	User    string // whom the key belongs to
	Role    string // and what that user is
	Already bool   // it did so before

	// Proved is set by a Prover when the device has shown that it knows the
	// password. It is no part of the message.
	Proved bool
}

// Encode returns the CoAP response code, 2.01 or 2.04 when nothing changed, and
// the text: {"user":"alice","role":"admin"}.
func (r Reply) Encode() (coapCode uint8, text []byte, err error) {
	text, err = json.Marshal(struct {
		User string `json:"user"`
		Role string `json:"role"`
	}{r.User, r.Role})
	if r.Already {
		return changed, text, err
	}
	return created, text, err
}

// ReadReply is what a client makes of a response without an error code. It
// passes over fields that it does not know, so that newer devices may say more,
// and returns latchkey.ErrProtocol for everything that is no reply.
func ReadReply(coapCode uint8, text []byte) (Reply, error) {
	var fields struct{ User, Role string }
	err := parseLoose(text, &fields)
	switch {
	case err != nil:
	case coapCode != created && coapCode != changed:
		err = fmt.Errorf("unexpected code %d.%02d", coapCode>>5, coapCode&31)
	case acl.CheckUserName(fields.User) != nil:
		err = errors.New("no user name in it")
	case fields.Role == "" || len(fields.Role) > 63 || !form.Printable(fields.Role):
		err = errors.New("no role in it")
	default:
		return Reply{User: fields.User, Role: fields.Role, Already: coapCode == changed}, nil
	}
	return Reply{}, fmt.Errorf("%w: pairing reply: %w", latchkey.ErrProtocol, err)
}

func parseLoose(text []byte, into any) error {
	if err := checkText(text); err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return errors.New("not a JSON object of the right shape")
	}
	return nil
}

func checkText(text []byte) error {
	if len(text) > MaxMessage {
		return fmt.Errorf("longer than %d bytes", MaxMessage)
	}
	if !utf8.Valid(text) {
		return errors.New("not UTF-8")
	}
	return nil
}
