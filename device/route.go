package device

import (
	"context"
	"log/slog"
	"sync/atomic"

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
// exact URL that will be asked for.
func (p *peer) route(r *coap.Request) (operation, bool, error) {
	via := p.srv.routes.routes.Load().Match(r.Path)
	if via == nil {
		return operation{}, false, nil
	}
	judged, err := via.Resolve(r.Path, r.Query)
	if err != nil {
		return operation{}, true, err
	}
	action := coapAction("route", r.Code)
	if r.Observation != nil {
		action = acl.RouteObserve
	}
	return operation{action, judged, func(ctx context.Context, pass gate.Pass, r *coap.Request) *coap.Response {
		return p.forward(ctx, via, pass, action, r)
	}}, true, nil
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
	answer := make(chan *coap.Response, 1)
	obs := r.Observation
	sub, cancel := context.WithCancel(p.sess.Context())
	release, ok := p.srv.watchers.reserve()
	if !ok { // over the limit it is a plain GET (RFC 7641 section 4.1)
		cancel()
		return p.srv.routes.forwarder.Do(ctx, via, judged, r)
	}
	p.tunnels.work.Go(func() { // ends with the observation or the session
		<-obs.Done()
		cancel()
	})
	p.tunnels.work.Go(func() { // ends with the upstream, the observation or the session
		defer release()
		defer obs.Close()
		first := true
		_ = p.srv.routes.forwarder.Subscribe(sub, via, judged, r, func(m *coap.Response) {
			if first {
				first = false
				answer <- m
				return
			}
			if _, err := p.srv.door.admit(sub, p.question(acl.RouteObserve, judged)); err != nil {
				m = refuse(err)
				defer obs.Close()
			}
			obs.Notify(m)
		})
	})
	select {
	case m := <-answer:
		return m
	case <-ctx.Done():
		cancel()
		return nil
	}
}
