package pairing

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/pake"
)

const (
	// MinPassword and MaxPassword bound the device's password in bytes.
	MinPassword = 8
	MaxPassword = 256

	// devicePasswordID is idProver of exchanges over the device's password.
	devicePasswordID = "password-open"
	// passwordSetting is the store's setting that keeps its verifier.
	passwordSetting = "pairing.password"
)

// ErrNoPassword reports password-open on a device that has no password.
var ErrNoPassword = errors.New("pairing: the device has no password")

// Why nobody can pair by a mode that is open.
var (
	errUsed       = errors.New("it was used up")
	errOwned      = errors.New("the device has an owner")
	errWorn       = fmt.Errorf("%d tries have failed; it must be opened again", MaxFailures)
	errNoInvite   = errors.New("there is no invitation that holds")
	errNobody     = errors.New("pairing: the host was not told the device's id and key")
	errOtherID    = errors.New("the password was set while the device had another id; set it again")
	errUnreadable = errors.New("the stored password cannot be read; set it again")
)

// passwordAlphabet has 32 characters of which none looks like another.
const passwordAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// NewPassword draws a password of 80 random bits that can be read aloud:
// "k7q2-m9xd-4rtp-w8zn".
func NewPassword() latchkey.Secret {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	var text []byte
	for i, c := range b {
		if i > 0 && i%4 == 0 {
			text = append(text, '-')
		}
		text = append(text, passwordAlphabet[c%32])
	}
	return latchkey.NewSecret(string(text))
}

// storedPassword is the value of passwordSetting.
type storedPassword struct {
	Verifier []byte `json:"verifier"` // as pake encodes it
}

// SetPassword gives the device a password, in place of the one it has, for
// password-open, and with a zero secret takes it away. It ends exchanges that
// have begun with the old one. Of the password only a verifier is kept. This
// takes some 50 ms.
func (h *Host) SetPassword(p latchkey.Secret) error {
	if p.IsZero() {
		return h.store.Update(func(tx *acl.Tx) error { return tx.RemoveSetting(passwordSetting) })
	}
	if n := len(p.Reveal()); n < MinPassword || n > MaxPassword {
		return fmt.Errorf("pairing: a password has %d to %d bytes", MinPassword, MaxPassword)
	}
	verifier, err := h.derive(p, devicePasswordID, func() error { return nil })
	if err != nil {
		return err
	}
	text, err := json.Marshal(storedPassword{verifier})
	if err != nil {
		return err
	}
	return h.store.Update(func(tx *acl.Tx) error { return tx.SetSetting(passwordSetting, string(text)) })
}

// derive runs argon2id, for one password at a time, unless it turns out that there
// is no need when its turn has come.
func (h *Host) derive(p latchkey.Secret, prover string, needed func() error) ([]byte, error) {
	h.deriving.Lock()
	defer h.deriving.Unlock()
	if err := needed(); err != nil {
		return nil, err
	}
	v, err := pake.NewVerifier(p.Reveal(), pake.NewParams(h.costs, prover, h.device.String()))
	if err != nil {
		return nil, err
	}
	return v.Encode()
}

// password returns the encoded verifier of the device's password.
func (h *Host) password(tx *acl.Tx) ([]byte, error) {
	text, ok := tx.Setting(passwordSetting)
	if !ok {
		return nil, ErrNoPassword
	}
	var stored storedPassword
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		return nil, errUnreadable
	}
	v, err := pake.ParseVerifier(stored.Verifier)
	if err != nil {
		return nil, errUnreadable
	}
	if v.Params().Verifier != h.device.String() {
		return nil, errOtherID
	}
	return stored.Verifier, nil
}

func (h *Host) passwordUsable(tx *acl.Tx) error {
	if err := h.identified(); err != nil {
		return err
	}
	if _, err := h.password(tx); err != nil {
		return err
	}
	f, err := loadFailures(tx)
	if err == nil && len(f.List) >= MaxFailures {
		err = errWorn
	}
	return err
}

// byPassword is a try of the device's password.
type byPassword struct {
	host   *Host
	number uint64 // among the failures; 0: not noted yet
}

func (b *byPassword) verifier(tx *acl.Tx, now time.Time) ([]byte, error) {
	if _, open := b.host.opening(PasswordOpen, now); !open {
		return nil, latchkey.ErrPairingClosed
	}
	encoded, err := b.host.password(tx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", latchkey.ErrPairingClosed, err)
	}
	return encoded, nil
}

func (b *byPassword) check(tx *acl.Tx, now time.Time, p Peer) error {
	f, err := loadFailures(tx)
	if err != nil {
		return err
	}
	return f.check(now, sourceOf(p.Source))
}

func (b *byPassword) charge(tx *acl.Tx, now time.Time, p Peer) (last bool, err error) {
	f, err := loadFailures(tx)
	if err != nil {
		return false, err
	}
	b.number = f.add(now, sourceOf(p.Source))
	return len(f.List) == MaxFailures, f.save(tx)
}

func (b *byPassword) refund(tx *acl.Tx) error {
	f, err := loadFailures(tx)
	if err != nil {
		return err
	}
	f.remove(b.number)
	return f.save(tx)
}

func (b *byPassword) grant(_ *acl.Tx, r Request) (user, role string, err error) {
	return r.User, acl.RoleGuest, nil
}

func (b *byPassword) spend(*acl.Tx) error { return nil }
