package acl

import (
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey-dev/latchkey"
)

// A Mode is how the device behaves towards a peer that it refuses something.
type Mode uint8

// The modes. The zero Mode answers.
const (
	// Respond answers with the reason's code.
	Respond Mode = iota
	// Disconnect ends the session with latchkey.ErrDisconnected.
	Disconnect
	// Silent answers a request that would change something as if it had been
	// carried out. Nothing is changed and nobody notified. Everything else is
	// answered as by Respond.
	Silent
)

var modes = []string{Respond: "respond", Disconnect: "disconnect", Silent: "silent"}

// String returns "respond", "disconnect" or "silent".
func (m Mode) String() string {
	if int(m) < len(modes) {
		return modes[m]
	}
	return modes[Respond]
}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// parseMode reads what a statement may have.
func parseMode(s string) (Mode, error) {
	for m, name := range modes {
		if s == name {
			return Mode(m), nil
		}
	}
	return Respond, mistake(`unknown mode %q: "respond", "disconnect" or "silent"`, s)
}

// checkMode refuses a mode that cannot be. Silent asks that every action of the
// statement changes something: anything else would still be answered, and the
// statement would look as if it did more than it does.
func checkMode(s Statement) error {
	if int(s.Mode) >= len(modes) {
		return mistake("unknown mode %d", s.Mode)
	}
	if s.Mode != Respond && s.Effect != Deny {
		return mistake("only a statement that denies has a mode")
	}
	if s.Mode != Silent {
		return nil
	}
	for _, text := range s.Actions {
		if !slices.Contains(changing, Action(text)) {
			return mistake("mode %q is for actions that change something, and %q does not only that", Silent, text)
		}
	}
	return nil
}

// Refuse is the error with which an authorization hook chooses a Mode. It
// matches latchkey.ErrForbidden; reason is for the log.
func Refuse(m Mode, reason string) error { return &modeError{m, reason} }

// ModeOf returns the Mode that an authorization hook's error asks for.
func ModeOf(err error) Mode {
	var r interface{ Mode() Mode }
	if errors.As(err, &r) {
		return r.Mode()
	}
	return Respond
}

type modeError struct {
	mode   Mode
	reason string
}

func (e *modeError) Error() string { return fmt.Sprintf("%v: %s", latchkey.ErrForbidden, e.reason) }
func (e *modeError) Unwrap() error { return latchkey.ErrForbidden }

// Mode makes ModeOf find it.
func (e *modeError) Mode() Mode { return e.mode }
