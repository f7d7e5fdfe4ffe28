package device_test

import (
	"errors"
	"slices"
	"strings"
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

// TestClockPutBack: what has ended does not come back with an earlier time, in this
// run or the next.
func TestClockPutBack(t *testing.T) {
	var off atomic.Int64
	wall := func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
	b := newBed(t, func(d *device.Device) {
		d.Handler = device.HandlerFunc(lights)
		device.SetWall(d, wall)
	})
	b.user("ada", acl.RoleUser)
	conn := b.dial()
	if _, err := conn.Get(b.ctx(), "/light"); err != nil {
		t.Fatal(err)
	}
	err := b.access.Update(func(tx *acl.Tx) error {
		u, _ := tx.User("ada")
		u.Expires = time.Now().Add(time.Hour)
		return tx.SetUser(u)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		off time.Duration
		may bool
	}{{0, true}, {-30 * time.Second, true}, {2 * time.Hour, false}, {0, false}, {-48 * time.Hour, false}} {
		off.Store(int64(step.off))
		if _, err := conn.Get(b.ctx(), "/light"); (err == nil) != step.may {
			t.Errorf("%v from now: %v", step.off, err)
		}
	}
	off.Store(int64(2*time.Hour + time.Minute))
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	for later, known := range map[time.Duration]bool{time.Hour: false, 3 * time.Hour: true} {
		if got := device.KnownTime(b.access, time.Now().Add(later)); got.IsZero() == known {
			t.Errorf("at the next start, %v from now, the time is taken for %v", later, got)
		}
	}
}

// TestRecordAhead: one record with a wrong time does not make the time unknown, and
// is named.
func TestRecordAhead(t *testing.T) {
	b := newBed(t, func(d *device.Device) {
		err := d.Access.Update(func(tx *acl.Tx) error {
			return errors.Join(
				tx.AddUser(acl.User{Name: "ada", Role: acl.RoleUser, Added: time.Now().AddDate(20, 0, 0)}),
				tx.AddUser(acl.User{Name: "bea", Role: acl.RoleUser, Added: time.Now().Add(2 * time.Hour)}))
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if got := device.KnownTime(b.access, time.Now().Add(3*time.Hour)); got.IsZero() {
		t.Error("the time is not known")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var told []string
	for _, e := range b.events {
		if e.Kind == acl.EventClock {
			told = append(told, e.Detail)
		}
	}
	if len(told) != 2 || !strings.Contains(told[0], "user ada") || !strings.Contains(told[1], "user bea") {
		t.Errorf("events of the clock: %q", told)
	}
}
