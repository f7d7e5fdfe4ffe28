package device

import (
	"context"
	"sync"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/gate"
)

// A watcher is one observation (RFC 7641) that goes on: of a handler's
// resource, or of an upstream one through a route.
type watcher struct {
	peer   *peer
	action acl.Action
	object string // what the door is asked about: path or upstream URL
	req    *coap.Request
	obs    *coap.Observation

	mu      sync.Mutex // guards running and again
	running bool
	again   bool
}

// watchers are the observations of all sessions.
type watchers struct {
	limits func() Limits
	mu     sync.Mutex // guards live
	live   map[*watcher]struct{}
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
	changed := p.srv.changed()
	w := &watcher{peer: p, action: acl.CoAPObserve, object: path, req: r, obs: r.Observation}
	accepted := p.srv.watchers.add(w) // before reading the state, so that no change is missed
	m := p.handle(ctx, pass, acl.CoAPObserve, r)
	if accepted && m.Code.Class() == 2 {
		m.Observe = 0
		p.srv.watchers.judgeIf(ctx, changed, w)
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
	limit := t.limits().Observations
	if len(t.live) >= limit {
		t.prune()
	}
	if len(t.live) >= limit {
		return false
	}
	t.live[w] = struct{}{}
	return true
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

// forget removes the observations of a session that is over.
func (t *watchers) forget(p *peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for w := range t.live {
		if w.peer == p {
			delete(t.live, w)
		}
	}
}

// of returns the live observations of a handler's path; of everything for "".
func (t *watchers) of(path string) []*watcher {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.prune()
	var list []*watcher
	for w := range t.live {
		if path == "" || w.action == acl.CoAPObserve && w.object == path {
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

// judge ends an observation that the door would refuse now.
func (t *watchers) judge(ctx context.Context, w *watcher) {
	if err := w.peer.srv.door.again(ctx, w.peer.question(w.action, w.object)); err != nil {
		w.obs.Notify(refuse(err)) // an error ends an observation (RFC 7641 section 3.2)
		w.obs.Close()
		t.remove(w)
	}
}

// judgeIf judges a new observation if something has changed since the door was
// asked about it.
func (t *watchers) judgeIf(ctx context.Context, changed <-chan struct{}, w *watcher) {
	select {
	case <-changed:
		t.judge(ctx, w)
	default:
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
	w.running = w.peer.work.run(w.run)
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
	pass, err := w.peer.srv.door.admit(ctx, w.peer.question(w.action, w.object))
	if err != nil {
		return refuse(err)
	}
	return w.peer.handle(ctx, pass, w.action, w.req)
}
