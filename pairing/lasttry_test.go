package pairing_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

// That a password is closed by failures is told once, and only when the last try
// has failed or is known to be lost.
func TestLastTry(t *testing.T) {
	for _, mode := range []pairing.Modes{pairing.PasswordOpen, pairing.Invite} {
		t.Run(mode.String(), func(t *testing.T) {
			h := newHouse(t, pairing.PasswordOpen|pairing.Invite)
			var request pairing.Request
			var right latchkey.Secret
			begin := func() {
				if request, right = byPassword("bob"), secret; mode == pairing.PasswordOpen {
					h.setPassword(secret)
					if err := h.Open(mode, time.Time{}); err != nil {
						t.Fatal(err)
					}
					return
				}
				in := h.invite(pairing.InviteRequest{User: "carol", Role: "guest"})
				request, right = byInvite(in.ID), in.Password
			}
			told := func() (n int) {
				for _, e := range h.events {
					if e.Outcome == acl.OutcomeOK && (e.Kind == acl.EventMode || e.Kind == acl.EventInvite) {
						n++
					}
				}
				return n
			}
			fail := func(n int) {
				for range n {
					refused(t, "a guess", h.visit(request, wrong).guess(start), latchkey.ErrWrongPassword)
				}
			}
			begin()
			fail(pairing.MaxFailures - 1)
			_, err := h.visit(request, wrong).until(start, 2) // and no confirmation
			refused(t, "for the client", err, latchkey.ErrWrongPassword)
			if told() != 0 {
				t.Error("told before it was known whether the last try fails")
			}
			for range 3 {
				refused(t, "one more", h.visit(request, right).guess(start), latchkey.ErrPairingClosed)
				if told() != 1 {
					t.Errorf("told %d times after the last try was lost", told())
				}
			}
			begin()
			fail(pairing.MaxFailures)
			refused(t, "one more", h.visit(request, right).guess(start), latchkey.ErrPairingClosed)
			if told() != 2 {
				t.Errorf("told %d times of two passwords", told())
			}
			begin()
			fail(pairing.MaxFailures - 1)
			if _, err := h.visit(request, right).pair(start); err != nil || told() != 2 {
				t.Errorf("the last try was right: %v, told %d times", err, told())
			}
		})
	}
}

// A clock that was far ahead for a while blocks nobody until then, and forgives
// nobody either.
func TestFailuresAhead(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen)
	h.setPassword(secret)
	home := netip.MustParseAddr("192.0.2.1")
	try := func(at time.Time) error { return h.from(h.visit(byPassword("eve"), wrong), home).guess(at) }
	for range pairing.MaxFailuresFrom {
		refused(t, "in ten years", try(start.AddDate(10, 0, 0)), latchkey.ErrWrongPassword)
	}
	refused(t, "put back", try(start), latchkey.ErrTooMany)
	refused(t, "soon after", try(start.Add(59*time.Minute)), latchkey.ErrTooMany)
	refused(t, "an hour after", try(start.Add(time.Hour)), latchkey.ErrWrongPassword)
	before := h.generation()
	home = netip.MustParseAddr("192.0.2.2")
	refused(t, "with others a little ahead", try(start.Add(time.Minute)), latchkey.ErrWrongPassword)
	if n := h.generation() - before; n != 1 {
		t.Errorf("%d writes for one try", n)
	}
}

// Whose access has expired is not told that all is well, and the owner learns what
// to do.
func TestExpiredKey(t *testing.T) {
	h := newHouse(t, pairing.Invite|pairing.PasswordOpen)
	h.setPassword(secret)
	in := h.invite(pairing.InviteRequest{User: "carol", Role: "guest"})
	v := h.visit(byInvite(in.ID), in.Password)
	err := h.store.Update(func(tx *acl.Tx) error {
		if err := tx.AddUser(acl.User{Name: "bob", Role: "guest", Expires: start}); err != nil {
			return err
		}
		return tx.AddKey(acl.Key{Fingerprint: v.peer.Key, User: "bob"})
	})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := v.pair(start.Add(-time.Second)); err != nil || !r.Already {
		t.Errorf("before the end: %+v, %v", r, err)
	}
	h.events = nil
	_, err = v.pair(start)
	refused(t, "after the end", err, latchkey.ErrForbidden)
	if len(h.events) != 1 || h.events[0].Code != latchkey.CodeForbidden || h.events[0].User != "bob" || h.events[0].Detail != "access has expired" {
		text, _ := json.Marshal(h.events)
		t.Errorf("events %s", text)
	}
	if _, there := h.invitation(in.ID); !there {
		t.Error("the invitation is gone")
	}
}

// A try that was answered is told once, also of a client that goes away when it
// sees that the password is another.
func TestLeftTry(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after func(v *visit) error // what comes after the device's confirmation
		want  int                  // records of a wrong password
	}{
		{"the end", func(*visit) error { return nil }, 1},
		{"another first step", func(v *visit) error { _, err := v.until(start, 1); return err }, 1},
		{"another try", func(v *visit) error { _, err := v.until(start, 2); return err }, 2},
		{"no message", func(v *visit) error {
			_, _, err := v.exchange.Step(start, pairing.PasswordOpen, []byte("{"))
			return err
		}, 1},
		{"a confirmation", func(v *visit) error {
			_, _, err := v.exchange.Step(start, pairing.PasswordOpen, []byte(`{"confirm":"`+strings.Repeat("A", 43)+`"}`))
			return err
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, pairing.PasswordOpen)
			h.setPassword(secret)
			v := h.visit(byPassword("bob"), wrong)
			_, err := v.until(start, 2)
			refused(t, "for the client", err, latchkey.ErrWrongPassword)
			t.Log(tt.after(v))
			for range 2 {
				_, _ = v.exchange.End(start)
			}
			n := 0
			for _, e := range h.events {
				if e.Code == latchkey.CodeWrongPassword {
					n++
					if e.Kind != acl.EventPair || e.Outcome != acl.OutcomeRefused || e.Key != v.peer.Key || e.Action != acl.PairPasswordOpen || e.Source != v.peer.Source {
						t.Errorf("told as %+v", e)
					}
				}
			}
			if n != tt.want {
				t.Errorf("told %d times, want %d", n, tt.want)
			}
		})
	}
	h := newHouse(t, pairing.PasswordOpen)
	h.setPassword(secret)
	v := h.visit(byPassword("bob"), secret)
	if _, err := v.pair(start); err != nil {
		t.Fatal(err)
	}
	if mode, err := v.exchange.End(start); mode != 0 || err != nil || len(h.events) != 1 {
		t.Errorf("who knew the password: %v, %v, events %+v", mode, err, h.events)
	}
}
