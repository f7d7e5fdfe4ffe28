package roster

import (
	"errors"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

// judged makes a of somebody whom the door let through just now. It is asked again
// by the policies of the store about an action on "gus".
func (d *desk) judged(a Actor, action acl.Action, waits bool) Actor {
	a.Waits = waits
	a.Changed = d.Access.Changed()
	a.Again = func() (<-chan struct{}, error) {
		changed := d.Access.Changed()
		return changed, d.Access.Authorize(d.t.Context(), &acl.Request{
			Peer: a.Key, Action: action, Resource: "gus", Path: acl.PathLocal, Time: noon,
		})
	}
	return a
}

// TestJudgedAsItIsDone: what the door allowed is not done any more once the rules
// are others, unless the door allows it by those too; whether or not it can be
// asked while the store waits, and whoever asks.
func TestJudgedAsItIsDone(t *testing.T) {
	all := append(changes[:len(changes):len(changes)], []struct {
		name    string
		kind    acl.EventKind
		action  acl.Action
		object  string
		version func(*desk) string
		do      func(d *desk, a Actor, t Terms) error
	}{
		{name: "open pairing", action: acl.SettingsWrite, do: func(d *desk, a Actor, _ Terms) error {
			return d.OpenPairing(a, pairing.LocalOpen, time.Hour)
		}},
		{name: "open pairing by a password", action: acl.SettingsWrite, do: func(d *desk, a Actor, _ Terms) error {
			return d.OpenPairing(a, pairing.PasswordOpen, time.Hour)
		}},
		{name: "close pairing", action: acl.SettingsWrite, do: func(d *desk, a Actor, _ Terms) error {
			return d.ClosePairing(a, pairing.Invite)
		}},
	}...)
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			for _, waits := range []bool{false, true} {
				d := prepared(t)
				if err := d.Pairing.SetPassword(pairing.NewPassword()); err != nil {
					t.Fatal(err)
				}
				otto := d.judged(d.add("otto", acl.RoleAdmin), c.action, waits)
				bearer := otto
				bearer.User = ""
				d.update(func(tx *acl.Tx) error { return tx.SetRole("otto", acl.RoleGuest) })
				before, modes := d.state(), d.Pairing.Modes(noon)
				for _, a := range []Actor{otto, bearer} {
					if err := c.do(d, a, Terms{}); !errors.Is(err, latchkey.ErrForbidden) {
						t.Errorf("waits %v: by a demoted administrator: %v", waits, err)
					}
					if e := d.last(); e.Outcome != acl.OutcomeRefused || e.Code != latchkey.CodeForbidden {
						t.Errorf("event %+v", e)
					}
				}
				if after := d.state(); after != before || d.Pairing.Modes(noon) != modes {
					t.Error("something was changed")
				}
				olga := d.judged(d.olga, c.action, waits)
				d.update(func(tx *acl.Tx) error { return tx.SetSetting("something", "else") })
				if err := c.do(d, olga, Terms{}); err != nil {
					t.Errorf("waits %v: by an administrator as before: %v", waits, err)
				}
			}
		})
	}
}

// TestRulesThatNeverRest: when the rules change each time that somebody who takes
// time is asked, the change is given up.
func TestRulesThatNeverRest(t *testing.T) {
	d := newDesk(t)
	a := d.judged(d.olga, acl.UserRole, true)
	asked := 0
	again := a.Again
	a.Again = func() (<-chan struct{}, error) {
		changed, err := again()
		asked++
		d.update(func(tx *acl.Tx) error { return tx.SetSetting("something", time.Duration(asked).String()) })
		return changed, err
	}
	d.update(func(tx *acl.Tx) error { return tx.SetSetting("something", "else") })
	if _, err := d.SetRole(a, "gus", acl.RoleUser, Terms{}); !errors.Is(err, latchkey.ErrConflict) || asked != maxTries {
		t.Errorf("asked %d times: %v", asked, err)
	}
	if e := d.last(); e.Outcome != acl.OutcomeRefused || e.Code != latchkey.CodeConflict {
		t.Errorf("event %+v", e)
	}
}
