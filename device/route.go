package device

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/forward"
	"github.com/latchkey-dev/latchkey/internal/gate"
)

// A routeTable is the routes of the present configuration and the connections
// to their upstream servers.
type routeTable struct {
	routes    atomic.Pointer[forward.Table]
	forwarder *forward.Forwarder
}

func newRouteTable(l Limits, log *slog.Logger) *routeTable {
	t := &routeTable{forwarder: forward.New(forward.Config{MaxBody: l.Body, Log: log})}
	t.routes.Store(new(forward.Table))
	return t
}

func (t *routeTable) set(list []Route) error {
	routes := make([]*forward.Route, 0, len(list))
	for _, one := range list {
		r, err := forward.ParseRoute(one.Path, one.To)
		if err != nil {
			return err
		}
		routes = append(routes, r)
	}
	table, err := forward.NewTable(routes...)
	if err != nil {
		return err
	}
	t.routes.Store(table)
	return nil
}

// Validate says what is wrong with r, if anything.
func (r Route) Validate() error {
	_, err := forward.ParseRoute(r.Path, r.To)
	return err
}

func (t *routeTable) close() { t.forwarder.Close() }

// route finds the route that takes a request. What the door judges is the
// exact URL that will be asked for. Where there can be none, it judges what it
// would without the route, so that only who may ask there learns more.
func (p *peer) route(path string, r *coap.Request) (operation, bool) {
	via := p.srv.routes.routes.Load().Match(r.Path)
	if via == nil {
		return operation{}, false
	}
	judged, err := via.Resolve(r.Path, r.Query)
	if err != nil {
		action := coapAction("coap", r.Code)
		return operation{action: action, resource: path, run: func(context.Context, gate.Pass, *coap.Request) *coap.Response {
			p.log.Info("request refused", "resource", path, "code", latchkey.CodeOf(err), "err", err)
			return refuse(err)
		}}, true
	}
	action := coapAction("route", r.Code)
	if r.Observation != nil {
		action = acl.RouteObserve
	}
	return operation{action: action, resource: judged, run: func(ctx context.Context, pass gate.Pass, r *coap.Request) *coap.Response {
		return p.forward(ctx, via, pass, action, r)
	}}, true
}

// forward asks the upstream server for just what the pass was made for.
func (p *peer) forward(ctx context.Context, via *forward.Route, pass gate.Pass, action acl.Action, r *coap.Request) *coap.Response {
	judged, err := pass.Redeem(action)
	if err != nil {
		return refuse(err)
	}
	if action == acl.RouteObserve {
		return p.relay(ctx, via, judged, r)
	}
	return p.srv.routes.forwarder.Do(ctx, via, judged, r)
}

// relay observes the upstream resource for the peer: its first answer is the
// answer, the others are notifications, each of which the door is asked about.
func (p *peer) relay(ctx context.Context, via *forward.Route, judged string, r *coap.Request) *coap.Response {
	changed := p.srv.changed()
	w := &watcher{peer: p, action: acl.RouteObserve, object: judged, req: r, obs: r.Observation}
	if !p.srv.watchers.add(w) { // over the limit it is a plain GET (RFC 7641 section 4.1)
		return p.srv.routes.forwarder.Do(ctx, via, judged, r)
	}
	sub, cancel := context.WithCancel(p.sess.Context())
	answer := make(chan *coap.Response, 1)
	p.work.run(func() { // ends with the observation or the session
		select {
		case <-w.obs.Done():
		case <-sub.Done():
		}
		cancel()
	})
	started := p.work.run(func() { // ends with the upstream, the observation or the session
		defer cancel()
		defer p.srv.watchers.remove(w)
		defer w.obs.Close()
		_ = p.srv.routes.forwarder.Subscribe(sub, via, judged, r, w.passOn(sub, answer))
	})
	if !started {
		cancel()
	}
	select {
	case m := <-answer:
		p.srv.watchers.judgeIf(ctx, changed, w)
		return m
	case <-sub.Done():
		select {
		case m := <-answer: // the first was the last
			return m
		default: // given up before the upstream answered
			return nil
		}
	}
}

// passOn gives the upstream's first answer to the registration, and makes a
// notification of each that follows.
func (w *watcher) passOn(ctx context.Context, answer chan<- *coap.Response) func(*coap.Response) {
	first := true
	return func(m *coap.Response) {
		if first {
			first = false
			answer <- m
			return
		}
		if err := w.peer.srv.door.again(ctx, w.peer.question(w.action, w.object)); err != nil {
			w.peer.srv.watchers.end(w, err)
			return
		}
		w.obs.Notify(m)
	}
}
