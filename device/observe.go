package device

import (
	"context"
	"sync"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/gate"
)

// A watcher is one registered observation (RFC 7641) of a handler's resource.
type watcher struct {
	peer *peer
	path string
	req  *coap.Request
	obs  *coap.Observation

	mu      sync.Mutex // guards running and again
	running bool
	again   bool
}

// watchers are the observations of all sessions.
type watchers struct {
	limits  func() Limits
	mu      sync.Mutex // guards what follows
	live    map[*watcher]struct{}
	relayed int // observations of upstream resources, which count too
}

func (s *server) observable(path string) bool {
	c, ok := s.dev.Handler.(Catalogue)
	return ok && c.Observable(path)
}

// observe registers the observation and answers with the present state. Over
// the limit the request is answered as a plain GET (RFC 7641 section 4.1).
func (p *peer) observe(ctx context.Context, pass gate.Pass, r *coap.Request) *coap.Response {
	path, err := pass.Redeem(acl.CoAPObserve)
	if err != nil {
		return refuse(err)
	}
	w := &watcher{peer: p, path: path, req: r, obs: r.Observation}
	accepted := p.srv.watchers.add(w) // before reading the state, so that no change is missed
	m := p.handle(ctx, pass, acl.CoAPObserve, r)
	if accepted && m.Code.Class() == 2 {
		m.Observe = 0
	} else if accepted {
		p.srv.watchers.remove(w)
	}
	return m
}

func (t *watchers) add(w *watcher) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil {
		t.live = make(map[*watcher]struct{})
	}
	if !t.room() {
		return false
	}
	t.live[w] = struct{}{}
	return true
}

// reserve counts one observation of an upstream resource.
func (t *watchers) reserve() (release func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.room() {
		return nil, false
	}
	t.relayed++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.relayed--
	}, true
}

// room reports whether one more is within the limit. Callers hold t.mu.
func (t *watchers) room() bool {
	limit := t.limits().Observations
	if len(t.live)+t.relayed >= limit {
		t.prune()
	}
	return len(t.live)+t.relayed < limit
}

// prune forgets observations that have ended. Callers hold t.mu.
func (t *watchers) prune() {
	for w := range t.live {
		select {
		case <-w.obs.Done():
			delete(t.live, w)
		default:
		}
	}
}

func (t *watchers) remove(w *watcher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.live, w)
}

// of returns the live observations of path, of every path for "".
func (t *watchers) of(path string) []*watcher {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.prune()
	var list []*watcher
	for w := range t.live {
		if path == "" || w.path == path {
			list = append(list, w)
		}
	}
	return list
}

// notify tells each observer of path the new state. It does not wait.
func (t *watchers) notify(path string) {
	for _, w := range t.of(path) {
		w.refresh()
	}
}

// judgeAgain ends the observations that the door would refuse now.
func (t *watchers) judgeAgain(ctx context.Context) {
	for _, w := range t.of("") {
		q := w.peer.question(acl.CoAPObserve, w.path)
		if _, err := w.peer.srv.door.admit(ctx, q); err != nil {
			w.obs.Notify(refuse(err)) // an error ends an observation (RFC 7641 section 3.2)
			w.obs.Close()
			t.remove(w)
		}
	}
}

// refresh runs the handler and sends what it says. While it runs, further
// calls only ask for one more run: observers want the latest state, not each.
func (w *watcher) refresh() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.again = true
	if w.running {
		return
	}
	w.running = true
	w.peer.tunnels.work.Go(w.run) // the session waits for it
}

func (w *watcher) run() {
	for w.due() {
		ctx := w.peer.sess.Context()
		if ctx.Err() != nil {
			continue
		}
		m := w.state(ctx)
		w.obs.Notify(m)
		if m.Code.Class() != 2 {
			w.obs.Close()
			w.peer.srv.watchers.remove(w)
		}
	}
}

func (w *watcher) due() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running, w.again = w.again, false
	return w.running
}

// state asks the door again, because what was allowed at registration may not
// be now, and runs the handler.
func (w *watcher) state(ctx context.Context) *coap.Response {
	pass, err := w.peer.srv.door.admit(ctx, w.peer.question(acl.CoAPObserve, w.path))
	if err != nil {
		return refuse(err)
	}
	return w.peer.handle(ctx, pass, acl.CoAPObserve, w.req)
}
