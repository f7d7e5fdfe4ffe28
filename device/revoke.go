package device

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

// changed returns a channel that is closed at the next change of who may do
// what; one that never is without a store.
func (s *server) changed() <-chan struct{} {
	if s.access == nil {
		return nil
	}
	return s.access.Changed()
}

// watchAccess makes changes of the store, and the course of time, take effect on
// what is under way.
func (s *server) watchAccess(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	changed := s.changed()
	minute := time.Now().Unix() / 60
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.clock.look()
			s.endStrangers(now)
			if m := now.Unix() / 60; m != minute && s.door.prompt {
				minute = m
				s.review() // policies know times of day, to the minute
			}
		case <-changed:
			changed = s.changed() // before judging, so that no change is missed
			s.review()
		}
	}
}

// review has everything judged that is under way. It does not wait: a peer that
// has stopped answering, or a hook that hangs over one tunnel, must delay neither
// the others nor the next change.
func (s *server) review() {
	for _, p := range s.all() {
		p.review()
	}
	for _, w := range s.watchers.of("") {
		s.watchers.review(w)
	}
}

// reviewAll has everything judged that one peer has under way.
func (p *peer) reviewAll() {
	p.review()
	for _, w := range p.srv.watchers.of("") {
		if w.peer == p {
			p.srv.watchers.review(w)
		}
	}
}

// ownerless reports whether the peer's key has lost its user.
func (p *peer) ownerless() bool {
	return p.srv.access != nil && p.srv.dev.Authorize == nil && p.paired.Load() && p.subject().User == ""
}

// review does the same but for observations, which are in one table. A session
// whose key has lost its user ends.
func (p *peer) review() {
	if p.ownerless() {
		p.expelled.take(&p.work, func() {
			p.changes.settle() // it may be a user who removes itself
			p.end(fmt.Errorf("device: key %s: %w", p.key.Short(), latchkey.ErrRevoked))
		})
		return
	}
	ctx := p.sess.Context()
	for _, l := range p.tunnels.all() {
		l.reviews.take(&p.work, func() { p.judgeTunnel(ctx, l) })
	}
	for _, o := range p.requests.all() {
		o.reviews.take(&p.work, func() { p.judgeRequest(ctx, o) })
	}
	p.reviewTransfers()
}

// reviewTransfers has everything judged that travels in blocks.
func (p *peer) reviewTransfers() {
	ctx := p.sess.Context()
	p.transfers.take(&p.work, func() {
		p.sess.CoAP().Review(func(r *coap.Request) *coap.Response { return p.judgeTransfer(ctx, r) })
	})
}

// endStrangers ends sessions that were nobody's for too long.
func (s *server) endStrangers(now time.Time) {
	life := s.limits().UnpairedLife
	for _, p := range s.all() {
		if now.Sub(p.since) <= life || !p.nobody() {
			continue
		}
		why := latchkey.ErrUnpaired
		if end := p.subject().Expires; !end.IsZero() {
			if now.Sub(end) <= life { // time to be given more
				continue
			}
			why = latchkey.ErrRevoked
		}
		if c := p.credential.Load(); c != nil {
			if c.over.IsZero() || now.Sub(c.over) <= life { // time to bring another one
				continue
			}
			why = latchkey.ErrTokenExpired
		}
		p.expelled.take(&p.work, func() { p.end(fmt.Errorf("device: %w", why)) })
	}
}

// work is the goroutines that run for one session. Unlike a bare WaitGroup it
// takes no new ones once somebody waits.
type work struct {
	mu     sync.Mutex
	closed bool
	group  sync.WaitGroup
}

// begin counts one in, unless the session is over.
func (w *work) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.group.Add(1)
	return true
}

func (w *work) end() { w.group.Done() }

// run starts f on a goroutine of its own and reports whether it did.
func (w *work) run(f func()) bool {
	if !w.begin() {
		return false
	}
	go func() { // ends with f
		defer w.end()
		f()
	}()
	return true
}

// wait takes no more and returns when those that run have ended.
func (w *work) wait() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.group.Wait()
}

// A turn runs a function, never twice at the same time.
type turn struct {
	mu      sync.Mutex // guards what follows
	running bool
	again   bool
}

// take has f run on a goroutine of w. It does not wait. While f runs, further
// calls only make it run once more.
func (t *turn) take(w *work, f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.again = true
	if t.running {
		return
	}
	t.running = w.run(func() {
		for t.due() {
			f()
		}
	})
}

func (t *turn) due() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running, t.again = t.again, false
	return t.running
}
