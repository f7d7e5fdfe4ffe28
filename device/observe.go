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

	notices turn // reads the state and sends it
	reviews turn // asks whether the observation may go on
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

// review judges an observation. It does not wait.
func (t *watchers) review(w *watcher) {
	w.reviews.take(&w.peer.work, func() { t.judge(w.peer.sess.Context(), w) })
}

// judge ends an observation that the door would refuse now.
func (t *watchers) judge(ctx context.Context, w *watcher) {
	if err := w.peer.srv.door.again(ctx, w.peer.question(w.action, w.object)); err != nil {
		t.end(w, err)
	}
}

// end tells the observer why there will be no more notifications: an error ends
// an observation (RFC 7641 section 3.2).
func (t *watchers) end(w *watcher, err error) {
	w.obs.Notify(refuse(err))
	w.obs.Close()
	t.remove(w)
	w.peer.revoked(w.action, w.object, err)
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
func (w *watcher) refresh() { w.notices.take(&w.peer.work, w.notice) }

func (w *watcher) notice() {
	ctx := w.peer.sess.Context()
	if ctx.Err() != nil {
		return
	}
	// What was allowed at registration may not be now.
	pass, err := w.peer.srv.door.still(ctx, w.peer.question(w.action, w.object))
	if err != nil {
		w.peer.srv.watchers.end(w, err)
		return
	}
	m := w.peer.handle(ctx, pass, w.action, w.req)
	w.obs.Notify(m)
	if m.Code.Class() != 2 {
		w.obs.Close()
		w.peer.srv.watchers.remove(w)
	}
}
