package device

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey/acl"
)

const (
	// settingFloor keeps the floor across restarts. No backup has it.
	settingFloor = "clock.floor"
	// putBack is how far a clock may be put back without anybody minding.
	putBack = 60 * time.Second
	// clockAhead is how far ahead of the machine's time a record may have been made
	// that counts.
	clockAhead = 24 * time.Hour
	// keepFloor is how far the floor that is on disk may be behind.
	keepFloor = time.Hour
)

// noEarlier is a time that has passed for certain: that of this source.
var noEarlier = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)

// A clock knows when the time of the machine cannot be right: small devices
// begin in 1970 until somebody tells them better, and a clock that is put back
// would give back rights that have ended. What is decided by the time is refused
// until the time has passed the floor again, which is the latest that was seen.
type clock struct {
	wall    func() time.Time
	changed func(known bool, now time.Time) // called by look
	known   atomic.Bool                     // what changed was last told
	ignored string                          // a record that is too far ahead to be believed; "": none

	mu    sync.Mutex // guards what follows
	floor time.Time  // the time has been this late
	from  string     // who says so
}

// newClock returns a clock that has never been before what the program and the
// store have seen. wall is nil for the clock of the machine.
func newClock(store *acl.Store, wall func() time.Time, changed func(known bool, now time.Time)) *clock {
	c := &clock{floor: noEarlier, from: "the program", wall: wall, changed: changed}
	if wall == nil {
		c.wall = time.Now
	}
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.time" {
				if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
					c.reached(t, c.from)
				}
			}
		}
	}
	if store != nil {
		_ = store.View(func(tx *acl.Tx) error { // a store that is closed has seen nothing
			c.read(tx)
			return nil
		})
	}
	c.known.Store(true)
	return c
}

// read learns from a store. One record with a wrong time must not make the time
// unknown for ever, so those count that are not ahead of all else.
func (c *clock) read(tx *acl.Tx) {
	if text, ok := tx.Setting(settingFloor); ok {
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			c.reached(t, "an earlier run")
		}
	}
	limit := c.wall()
	if c.floor.After(limit) {
		limit = c.floor
	}
	limit = limit.Add(clockAhead)
	added := func(t time.Time, what string) {
		if t.After(limit) {
			c.ignored = fmt.Sprintf("%s was added at %s", what, t.UTC().Format(time.RFC3339))
			return
		}
		c.reached(t, what)
	}
	for _, u := range tx.Users() {
		added(u.Added, "user "+u.Name)
		for _, k := range tx.Keys(u.Name) {
			added(k.Added, "key "+k.Fingerprint.Short()+" of user "+u.Name)
		}
	}
}

// reached raises the floor. The caller holds mu, or nobody else has c yet.
func (c *clock) reached(t time.Time, from string) {
	if t.After(c.floor) {
		c.floor, c.from = t, from
	}
}

// now returns the time, or zero while it is not known.
func (c *clock) now() time.Time {
	now := c.wall()
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.floor) {
		return time.Time{}
	}
	c.reached(now.Add(-putBack), "this run")
	return now
}

// bound returns the floor, and who says that it was as late as that.
func (c *clock) bound() (time.Time, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.floor, c.from
}

// look tells when the clock became known, or stopped to be.
func (c *clock) look() {
	known := !c.now().IsZero()
	if c.known.Swap(known) != known {
		c.changed(known, c.wall())
	}
}

// keepClock has the floor on disk, at most an hour old, until ctx ends, and then the last
// one.
func (s *server) keepClock(ctx context.Context) {
	if s.access == nil {
		return
	}
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.keepFloor(keepFloor)
		case <-ctx.Done():
			s.keepFloor(0)
			return
		}
	}
}

// keepFloor writes the floor if that on disk is further behind.
func (s *server) keepFloor(behind time.Duration) {
	if s.clock.now().IsZero() {
		return // nothing was seen
	}
	floor, _ := s.clock.bound()
	var kept time.Time
	err := s.access.View(func(tx *acl.Tx) error {
		text, _ := tx.Setting(settingFloor)
		kept, _ = time.Parse(time.RFC3339, text) // what cannot be read is written anew
		return nil
	})
	if err != nil || floor.Sub(kept) <= max(behind, putBack) {
		return
	}
	err = s.access.Update(func(tx *acl.Tx) error {
		tx.Quiet()
		return tx.SetSetting(settingFloor, floor.UTC().Format(time.RFC3339))
	})
	if err != nil {
		s.log.Warn("the time was not written down", "op", "clock", "err", err)
	}
}
