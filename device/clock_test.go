package device_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
)

// TestClockUnknown starts a device in 1970, and tells it the time later.
func TestClockUnknown(t *testing.T) {
	var right atomic.Bool
	b := newBed(t, func(d *device.Device) {
		d.Handler = device.HandlerFunc(lights)
		device.SetWall(d, func() time.Time {
			if right.Load() {
				return time.Now()
			}
			return time.Unix(100, 0)
		})
	})
	conn := b.dial()
	token := b.token(time.Hour, nil)
	if _, err := b.login(conn, token); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("a token in 1970: %v", err)
	}
	right.Store(true)
	if _, err := b.login(conn, token); err != nil {
		t.Errorf("a token now: %v", err)
	}
	if _, err := conn.Get(b.ctx(), "/light"); err != nil {
		t.Errorf("by the token: %v", err)
	}
	right.Store(false) // and back
	if _, err := conn.Get(b.ctx(), "/light"); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("by the token, in 1970: %v", err)
	}
	told := func() (list []acl.Outcome) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, e := range b.events {
			if e.Kind == acl.EventClock {
				list = append(list, e.Outcome)
			}
		}
		return list
	}
	right.Store(true)
	for ctx := b.ctx(); ctx.Err() == nil && len(told()) < 2; {
		time.Sleep(10 * time.Millisecond)
	}
	if got := told(); !slices.Equal(got, []acl.Outcome{acl.OutcomeFailed, acl.OutcomeOK}) {
		t.Errorf("events of the clock: %v", got)
	}
}

// TestClockFloor: the time cannot be before what the store has seen.
func TestClockFloor(t *testing.T) {
	b := newBed(t, nil)
	added := time.Now().Add(time.Hour)
	err := b.access.Update(func(tx *acl.Tx) error { return tx.AddUser(acl.User{Name: "ada", Role: acl.RoleUser, Added: added}) })
	if err != nil {
		t.Fatal(err)
	}
	for at, known := range map[time.Time]bool{added.Add(time.Second): true, added.Add(-time.Minute): false, time.Unix(0, 0): false} {
		if got := device.KnownTime(b.access, at); got.IsZero() == known {
			t.Errorf("at %v the time is taken for %v", at, got)
		}
	}
}
