package device

import (
	"errors"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/roster"
	"github.com/latchkey-dev/latchkey/pairing"
)

// console is who calls the methods of a Device.
var console = roster.Actor{Console: true}

// OpenPairing opens pairing modes, for a length of time or, with 0, until they are
// closed or used up.
func (d *Device) OpenPairing(m pairing.Modes, length time.Duration) error {
	s, err := d.pairingServer()
	if err != nil {
		return err
	}
	return s.roster().OpenPairing(console, m, length)
}

// ConfigurePairing makes m the modes that are open by configuration, as the
// field Pairing does at start: a mode that was used up stays closed.
func (d *Device) ConfigurePairing(m pairing.Modes) error {
	s, err := d.pairingServer()
	if err != nil {
		return err
	}
	before := s.pairing.Modes(s.clock.now())
	s.pairing.Configure(m)
	if after := s.pairing.Modes(s.clock.now()); after != before {
		s.modeEvent(after, "by configuration", nil)
	}
	return nil
}

// ClosePairing closes pairing modes.
func (d *Device) ClosePairing(m pairing.Modes) error {
	s, err := d.pairingServer()
	if err != nil {
		return err
	}
	return s.roster().ClosePairing(console, m)
}

// PairingModes returns the modes by which somebody could pair now; none while not
// serving.
func (d *Device) PairingModes() pairing.Modes {
	s, err := d.pairingServer()
	if err != nil {
		return 0
	}
	return s.pairing.Modes(s.clock.now())
}

// PairingOpenings tells what is open, until when, and what is in the way.
func (d *Device) PairingOpenings() ([]pairing.Opening, error) {
	s, err := d.pairingServer()
	if err != nil {
		return nil, err
	}
	return s.pairing.Openings(s.clock.now()), nil
}

// SetPairingPassword gives the device a password for the mode password-open, in
// place of the one it has; see pairing.Host.SetPassword. It opens nothing.
func (d *Device) SetPairingPassword(password latchkey.Secret) error {
	s, err := d.pairingServer()
	if err != nil {
		return err
	}
	err = s.pairing.SetPassword(password)
	s.modeEvent(pairing.PasswordOpen, "new password", err)
	return err
}

// Invite makes an invitation, which works once, in the name of whoever is at the
// device; without a role it is one for a guest, and without an end it holds for a
// day. By and Check of r are not asked for.
func (d *Device) Invite(r pairing.InviteRequest) (pairing.Invitation, error) {
	s, err := d.pairingServer()
	if err != nil {
		return pairing.Invitation{}, err
	}
	return s.roster().Invite(console, roster.NewInvite{User: r.User, Role: r.Role, Expires: r.Expires})
}

// modeEvent tells that the owner has opened or closed modes.
func (s *server) modeEvent(m pairing.Modes, detail string, err error) {
	s.event(acl.Event{
		Kind: acl.EventMode, Outcome: outcome(err), Console: true, Object: m.String(), Detail: detail, Code: latchkey.CodeOf(err),
	})
}

func (d *Device) pairingServer() (*server, error) {
	s, err := d.serving()
	if err == nil && s.pairing == nil {
		err = errors.New("device: pairing needs a store")
	}
	return s, err
}
