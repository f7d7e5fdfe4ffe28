package client

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey/internal/rendezvous"
)

const (
	// askAfter is how long a path may be silent, although we send, before we
	// ask the device for a sign of life: what we sent may want no answer.
	askAfter = 300 * time.Millisecond
	// doubtAfter is when we see whether the basestation answers, and roamAfter
	// when we ask it for other paths.
	doubtAfter = 600 * time.Millisecond
	roamAfter  = 1000 * time.Millisecond
	// pathless is how long a session may have no path at all.
	pathless = 200 * time.Millisecond
	// roamFirst is the pause after a failed try, doubled up to roamMost.
	roamFirst = 500 * time.Millisecond
	roamMost  = 8 * time.Second
	roamTime  = 8 * time.Second
	// settle lets addresses settle after a change of network.
	settle = 100 * time.Millisecond
	// A new path is spoken on this often until the device was heard by it.
	greetEvery = 200 * time.Millisecond
)

// A roamer finds new paths for a running session when its own fail or our
// network changes.
type roamer struct {
	link    *link
	nudge   chan struct{}
	without time.Time   // since when there is no path; of tick
	asked   bool        // the device for a sign of life, in this silence; of tick
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

// tick looks how long the session's path has been silent.
func (r *roamer) tick(now time.Time) {
	if _, _, ok := r.link.carrier.Current(); !ok {
		if r.without.IsZero() {
			r.without = now
		} else if now.Sub(r.without) >= pathless {
			r.wake()
		}
		return
	}
	r.without = time.Time{}
	switch silence := r.link.carrier.Silence(); {
	case silence < askAfter:
		r.asked = false
	case silence >= doubtAfter:
		r.wake()
	case !r.asked:
		r.asked = true
		r.link.start(r.link.ask) // ends with the answer, in time
	}
}

// needed reports whether the session still has no path that is heard.
func (r *roamer) needed() bool {
	_, _, ok := r.link.carrier.Current()
	return !ok || r.link.carrier.Silence() >= doubtAfter
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
		} else if !r.stillSilent(ctx) {
			continue
		}
		began := time.Now()
		err := r.link.rejoin(ctx)
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

// stillSilent waits until a silent path is to be given up, and meanwhile sees
// whether the basestation answers. It reports false if the path does.
func (r *roamer) stillSilent(ctx context.Context) bool {
	if !r.needed() {
		return false
	}
	r.link.doubt(ctx)
	if _, _, ok := r.link.carrier.Current(); ok {
		wait(ctx, roamAfter-r.link.carrier.Silence())
	}
	return r.needed()
}

// doubt has the leg to the basestation dialled anew before its next use, unless
// it answers.
func (l *link) doubt(ctx context.Context) {
	b, release, err := l.client.base(l.known())
	if err != nil {
		return // rejoin will say why
	}
	defer release()
	b.doubt(ctx)
}

// ask asks the device for a sign of life.
func (l *link) ask() {
	ctx, cancel := context.WithTimeout(l.session.Context(), roamAfter)
	defer cancel()
	_, _ = l.session.Ping(ctx) // what counts is that it is heard
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
// when the device was heard by one of its paths. Until then, and if it is not,
// the session keeps the paths that it has.
func (l *link) rejoin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, roamTime)
	defer cancel()
	id, err := l.session.ID()
	if err != nil {
		return err
	}
	i, err := l.client.introduce(ctx, l.known(), l.options, l.carrier, id[:], func(r *rendezvous.Receiver) { r.Attach(l.session) })
	if err != nil {
		return err
	}
	l.carrier.DoubtLocal()
	if err := l.greet(ctx, i); err != nil {
		i.close()
		return err
	}
	l.mu.Lock()
	before := l.adopted
	l.adopted = i
	l.mu.Unlock()
	if before != nil {
		before.close()
	}
	return nil
}

// greet speaks until the device was heard by a path of i: once it has heard us
// there too, it gives up the paths before.
func (l *link) greet(ctx context.Context, i *introduction) error {
	select {
	case <-i.meeting.Up():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	ticker := time.NewTicker(greetEvery)
	defer ticker.Stop()
	for {
		once, cancel := context.WithTimeout(ctx, greetEvery)
		_, _ = l.session.Ping(once) // what counts is by which path the answer comes
		cancel()
		select {
		case <-i.meeting.Heard():
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
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
