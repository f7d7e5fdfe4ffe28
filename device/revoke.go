package device

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// changed returns a channel that is closed at the next change of who may do
// what; one that never is without a store.
func (s *server) changed() <-chan struct{} {
	if s.access == nil {
		return nil
	}
	return s.access.Changed()
}

// watchAccess makes changes of the store take effect on what is under way:
// every tunnel and observation is judged again, and sessions whose key has
// lost its user end.
func (s *server) watchAccess(ctx context.Context) {
	ticker := time.NewTicker(s.limits().UnpairedLife / 4)
	defer ticker.Stop()
	changed := s.changed()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-changed:
			changed = s.changed() // before judging, so that no change is missed
			s.judgeAgain(ctx)
		}
		s.endStrangers(time.Now())
	}
}

// judgeAgain goes through all sessions at once: a peer that has stopped
// answering, or a hook that hangs over one tunnel, must not delay the others.
func (s *server) judgeAgain(ctx context.Context) {
	var work sync.WaitGroup
	for _, p := range s.all() {
		work.Go(func() { p.judgeAgain(ctx) })
	}
	for _, o := range s.watchers.of("") {
		work.Go(func() { s.watchers.judge(ctx, o) })
	}
	work.Wait()
}

// judgePeer judges again what one peer has open.
func (s *server) judgePeer(ctx context.Context, p *peer) {
	p.judgeAgain(ctx)
	for _, o := range s.watchers.of("") {
		if o.peer == p {
			s.watchers.judge(ctx, o)
		}
	}
}

func (p *peer) judgeAgain(ctx context.Context) {
	if p.srv.access != nil && p.srv.dev.Authorize == nil && p.paired.Load() && p.subject().User == "" {
		p.sess.Close(fmt.Errorf("device: key %s: %w", p.key.Short(), latchkey.ErrRevoked))
		return
	}
	p.sess.CoAP().Forget() // the rest of an answer is not served by yesterday's rules
	var work sync.WaitGroup
	for _, l := range p.tunnels.all() {
		work.Go(func() { p.judgeTunnel(ctx, l) })
	}
	work.Wait()
}

// endStrangers ends sessions whose keys stayed unpaired for too long.
func (s *server) endStrangers(now time.Time) {
	if s.access == nil || s.dev.Authorize != nil {
		return
	}
	var work sync.WaitGroup
	for _, p := range s.all() {
		if now.Sub(p.since) > s.limits().UnpairedLife && p.subject().User == "" {
			work.Go(func() { p.sess.Close(fmt.Errorf("device: %w", latchkey.ErrUnpaired)) })
		}
	}
	work.Wait()
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
