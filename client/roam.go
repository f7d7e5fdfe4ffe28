package client

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// roamAfter is how long a path may be silent, although we send, before we
	// ask for other paths.
	roamAfter = 1200 * time.Millisecond
	// roamFirst is the pause after a failed try, doubled up to roamMost.
	roamFirst = 500 * time.Millisecond
	roamMost  = 8 * time.Second
	roamTime  = 8 * time.Second
	// settle lets addresses settle after a change of network.
	settle = 100 * time.Millisecond
	// So many pings are sent on a new path, until one was answered; each may
	// take so long.
	greetings = 5
	greetTime = 200 * time.Millisecond
)

// A roamer finds new paths for a running session when its own fail or our
// network changes.
type roamer struct {
	link    *link
	nudge   chan struct{}
	suspect time.Time   // since when; of tick
	changed atomic.Bool // our network, since the last try
}

// moved tells that our network has changed.
func (r *roamer) moved() {
	r.changed.Store(true)
	r.wake()
}

// calm forgets what was asked for while new paths were made.
func (r *roamer) calm() {
	if r.changed.Load() {
		return
	}
	select {
	case <-r.nudge:
	default:
	}
}

func (r *roamer) wake() {
	select {
	case r.nudge <- struct{}{}:
	default:
	}
}

// tick looks whether the session's path is in doubt for long.
func (r *roamer) tick(now time.Time) {
	if !r.link.carrier.Suspect() {
		if _, _, ok := r.link.carrier.Current(); ok {
			r.suspect = time.Time{}
			return
		}
	}
	switch {
	case r.suspect.IsZero():
		r.suspect = now
	case now.Sub(r.suspect) >= roamAfter-time.Second: // suspect after a second
		r.wake()
	}
}

// run finds new paths when told to, until the session ends.
func (r *roamer) run(ctx context.Context) {
	pause := roamFirst
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.nudge:
		}
		changed := r.changed.Swap(false)
		if changed {
			wait(ctx, settle)
		}
		began := time.Now()
		err := r.link.rejoin(ctx, changed)
		if err == nil {
			pause = roamFirst
			wait(ctx, time.Second) // for the new path to be heard
			r.calm()
			continue
		}
		r.link.client.logger().Debug("no new path yet", "device", r.link.device.Alias, "err", err)
		wait(ctx, pause-time.Since(began))
		if pause = min(2*pause, roamMost); r.link.session.LastHeard().Before(began) {
			r.wake() // still in need
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// rejoin asks for an introduction for the running session and takes it over
// when one of its paths works.
func (l *link) rejoin(ctx context.Context, changed bool) error {
	ctx, cancel := context.WithTimeout(ctx, roamTime)
	defer cancel()
	id, err := l.session.ID()
	if err != nil {
		return err
	}
	b, release, err := l.client.base(l.device)
	if err != nil {
		return err
	}
	defer release()
	if !changed {
		b.doubt(ctx)
	}
	i, err := l.client.introduce(ctx, l.device, l.options, l.carrier, id[:], func(i *introduction) { i.session.Store(l.session) })
	if err != nil {
		return err
	}
	select {
	case <-i.meeting.Up():
	case <-ctx.Done():
		i.close()
		return context.Cause(ctx)
	}
	l.mu.Lock()
	before := l.adopted
	l.adopted = i
	l.mu.Unlock()
	l.greet(ctx, i)
	if before != nil {
		before.close()
	}
	return nil
}

// greet speaks until the device was heard by a path of i: once it has heard us
// there too, it gives up the paths before.
func (l *link) greet(ctx context.Context, i *introduction) {
	for range greetings {
		once, cancel := context.WithTimeout(ctx, greetTime)
		_, _ = l.session.Ping(once) // what counts is by which path the answer came
		cancel()
		select {
		case <-i.meeting.Heard():
			return
		default:
		}
	}
}

// roam makes the session look for new paths, if its device has a basestation.
func (c *Client) roam(l *link) {
	if l.roamer == nil {
		return
	}
	c.mu.Lock()
	c.roaming = append(c.roaming, l.roamer)
	c.mu.Unlock()
	l.start(func() { // ends with the session
		l.roamer.run(l.session.Context())
		c.mu.Lock()
		defer c.mu.Unlock()
		c.roaming = slices.DeleteFunc(c.roaming, func(r *roamer) bool { return r == l.roamer })
	})
}
