package pairing

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/form"
)

// A Status is the answer to GET /pairing.
type Status struct {
	Modes  []string `json:"modes"`  // names of the modes that are open now
	Paired bool     `json:"paired"` // whether the asking key belongs to a user
	Local  bool     `json:"local"`  // whether the asking session came from the device's own network
}

// Encode returns {"modes":["local-initial"],"paired":false,"local":true}.
func (s Status) Encode() ([]byte, error) { return json.Marshal(s) }

// ReadStatus reads a status. Names of modes that this version does not know stay
// in it.
func ReadStatus(text []byte) (Status, error) {
	var s Status
	err := parseLoose(text, &s)
	for _, name := range s.Modes {
		if !form.Printable(name) && err == nil {
			err = errors.New("not a name of a mode")
		}
	}
	if err != nil {
		return Status{}, fmt.Errorf("%w: pairing status: %w", latchkey.ErrProtocol, err)
	}
	return s, nil
}

// Have is what the person who wants to pair has at hand.
type Have struct {
	Invite   bool // the id of an invitation, with its password
	Password bool // the device's password
}

// Choose picks the mode to pair by. Who has an invitation pairs by it or not at
// all, because any other mode would make another user of them. Else it is the
// first of these that is open and possible: local-initial, password-open,
// local-open. A key that is paired already may use any, because the device only
// says so. If no mode is possible the error is a *MissingError.
func (s Status) Choose(have Have) (Modes, error) {
	if s.Paired {
		return LocalInitial, nil
	}
	open := s.known()
	missing := &MissingError{Offered: s.Modes}
	if have.Invite {
		if open.Has(Invite) {
			return Invite, nil
		}
		return 0, missing
	}
	for _, m := range []Modes{LocalInitial, PasswordOpen, LocalOpen} {
		if open.Has(m) && (s.Local || !localModes.Has(m)) && (have.Password || m != PasswordOpen) {
			return m, nil
		}
	}
	missing.Password = open.Has(PasswordOpen)
	missing.Invite = open.Has(Invite)
	missing.Local = open&localModes != 0
	return 0, missing
}

// known returns the modes among s.Modes that this version knows.
func (s Status) known() (open Modes) {
	for _, m := range modes {
		if slices.Contains(s.Modes, m.name) {
			open |= m.bit
		}
	}
	return open
}

// A MissingError says that nobody can pair with what is at hand, and what would
// help; nothing does when all is false. It matches latchkey.ErrNotLocal when
// only another network helps, else latchkey.ErrPairingClosed.
type MissingError struct {
	Offered  []string // names of the modes that are open, also of unknown ones
	Password bool     // the device's password would do
	Invite   bool     // an invitation would
	Local    bool     // being on the device's own network would
}

// Error implements error.
func (e *MissingError) Error() string {
	var help []string
	for _, way := range []struct {
		helps bool
		text  string
	}{
		{e.Password, "the device's password"},
		{e.Invite, "an invitation"},
		{e.Local, "a connection from the device's own network"},
	} {
		if way.helps {
			help = append(help, way.text)
		}
	}
	switch {
	case len(help) > 0:
		return "pairing: it takes " + strings.Join(help, ", or ")
	case len(e.Offered) > 0:
		return fmt.Sprintf("%v: the device offers only %q", latchkey.ErrPairingClosed, e.Offered)
	}
	return latchkey.ErrPairingClosed.Error()
}

// Unwrap makes errors.Is find the sentinel.
func (e *MissingError) Unwrap() error {
	if e.Local && !e.Password && !e.Invite {
		return latchkey.ErrNotLocal
	}
	return latchkey.ErrPairingClosed
}
