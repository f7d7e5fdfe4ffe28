package roster

import (
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/form"
	"github.com/latchkey-dev/latchkey/pairing"
)

const (
	// NameSetting is where the store keeps the device's name for people.
	NameSetting = "device.name"
	// MaxName is the longest such name in bytes.
	MaxName = 128
)

var errNoPairing = fmt.Errorf("%w: there is no pairing here", latchkey.ErrNotFound)

// SetName stores the device's name for people, which wins over the configured
// one. "" gives that back.
func (r *Roster) SetName(a Actor, name string) error {
	d := deed{kind: acl.EventSettings, action: acl.DeviceRename, object: "/device/name", detail: "named " + name}
	return r.do(a, Terms{}, d, func(tx *acl.Tx) error {
		if now, _ := tx.Setting(NameSetting); now == name {
			return errSame
		}
		if name == "" {
			return tx.RemoveSetting(NameSetting)
		}
		if len(name) > MaxName || !form.Printable(name) {
			return fmt.Errorf("%w: a name is up to %d bytes of text that can be printed", latchkey.ErrProtocol, MaxName)
		}
		return tx.SetSetting(NameSetting, name)
	})
}

// Name returns what SetName stored, "" without.
func Name(store *acl.Store) (name string) {
	_ = store.View(func(tx *acl.Tx) error { // fails when the store is closed, and then there is no name
		name, _ = tx.Setting(NameSetting)
		return nil
	})
	return name
}

// OpenPairing opens a pairing mode, for a length of time or, with 0, until it is
// closed or used up. pairing.Host says what can go wrong.
func (r *Roster) OpenPairing(a Actor, mode pairing.Modes, length time.Duration) error {
	d := deed{kind: acl.EventMode, action: acl.SettingsWrite, object: mode.String(), detail: "opened"}
	var until time.Time
	if length > 0 {
		until = r.now().Add(length)
		d.detail += " until " + when(until)
	}
	err := errNoPairing
	switch {
	case length > 0 && r.now().IsZero():
		err = errClock
	case r.Pairing != nil:
		err = a.repeat(func() error { return r.Pairing.OpenIf(mode, until, a.current) })
	}
	if errors.Is(err, pairing.ErrNoPassword) {
		err = fmt.Errorf("%w: %w", latchkey.ErrConflict, err)
	}
	r.record(a, d, err)
	return err
}

// ClosePairing closes a pairing mode.
func (r *Roster) ClosePairing(a Actor, mode pairing.Modes) error {
	d := deed{kind: acl.EventMode, action: acl.SettingsWrite, object: mode.String(), detail: "closed"}
	err := errNoPairing
	if r.Pairing != nil {
		err = a.repeat(func() error {
			return r.Access.Update(func(tx *acl.Tx) error {
				err := a.current(tx)
				if err == nil {
					r.Pairing.Close(mode)
				}
				return err
			})
		})
	}
	r.record(a, d, err)
	return err
}
