package device

import (
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey/acl"
)

// noEarlier is a time that has passed for certain: that of this source.
var noEarlier = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)

// A clock knows when the time of the machine cannot be right: small devices
// begin in 1970 until somebody tells them better. What is decided by the time is
// refused until then.
type clock struct {
	floor   time.Time // the time has been this late
	wall    func() time.Time
	changed func(known bool, now time.Time) // called by look
	known   atomic.Bool                     // what changed was last told
}

// newClock returns a clock that has never been before what the program and the
// store have seen. wall is nil for the clock of the machine.
func newClock(store *acl.Store, wall func() time.Time, changed func(known bool, now time.Time)) *clock {
	c := &clock{floor: noEarlier, wall: wall, changed: changed}
	if wall == nil {
		c.wall = time.Now
	}
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.time" {
				if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
					c.reached(t)
				}
			}
		}
	}
	if store != nil {
		_ = store.View(func(tx *acl.Tx) error { // a store that is closed has seen nothing
			for _, u := range tx.Users() {
				c.reached(u.Added)
				for _, k := range tx.Keys(u.Name) {
					c.reached(k.Added)
				}
			}
			return nil
		})
	}
	c.known.Store(true)
	return c
}

func (c *clock) reached(t time.Time) {
	if t.After(c.floor) {
		c.floor = t
	}
}

// now returns the time, or zero while it is not known.
func (c *clock) now() time.Time {
	if now := c.wall(); !now.Before(c.floor) {
		return now
	}
	return time.Time{}
}

// look tells when the clock became known, or stopped to be.
func (c *clock) look() {
	now := c.wall()
	if known := !now.Before(c.floor); c.known.Swap(known) != known {
		c.changed(known, now)
	}
}
