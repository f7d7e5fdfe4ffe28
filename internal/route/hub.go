package route

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/transport/v5/stdnet"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

// HubConfig says what a Hub needs of its socket. Send and Addrs are required.
type HubConfig struct {
	// Send sends one datagram from our address from; a zero from lets the
	// system choose. It must not block for long.
	Send func(b []byte, to netip.AddrPort, from netip.Addr) error
	// Addrs lists the addresses that the socket can be reached at from other
	// hosts, with its port. Each New asks again.
	Addrs func() []netip.AddrPort
	Log   *slog.Logger // nil: slog.Default()
}

// A Hub stands between one UDP socket and the routes that use it. It owns no
// goroutine and needs no end. Its methods are safe for concurrent use.
type Hub struct {
	cfg HubConfig
	net func() (*stdnet.Net, error)

	mu      sync.RWMutex
	routes  map[string]*Route           // by our username fragment
	pending map[transaction]*request    // requests that have no answer yet
	checked map[netip.AddrPort][]*Route // by addresses that ICE has checked, newest route first; the slices are never changed
}

// A request is a STUN request that was sent, and who waits for the answer:
// a candidate of an agent or a call of Mapped.
type request struct {
	to   netip.AddrPort
	conn *candidateConn
	done chan netip.AddrPort
}

// NewHub returns a Hub.
func NewHub(cfg HubConfig) *Hub {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Hub{
		cfg:     cfg,
		net:     sync.OnceValues(stdnet.NewNet),
		routes:  make(map[string]*Route),
		pending: make(map[transaction]*request),
		checked: make(map[netip.AddrPort][]*Route),
	}
}

// Deliver takes a datagram that arrived at the socket and reports whether it
// was for a route or for Mapped: a STUN message of ICE, the answer of a STUN
// server, or a DTLS record from an address that ICE has checked for a route
// whose Receive took it. It does not block, keeps nothing of b, and its cost
// does not depend on the number of routes.
func (h *Hub) Deliver(b []byte, m packet.Meta) bool {
	switch {
	case isDTLS(b):
		return h.deliverDTLS(b, m)
	case len(b) > maxSTUN || !isSTUN(b):
		return false
	}
	switch typeOf(b) {
	case bindingRequest:
		return h.deliverRequest(b, m)
	case bindingSuccess, bindingError:
		return h.deliverAnswer(b, m)
	}
	return false
}

func (h *Hub) deliverDTLS(b []byte, m packet.Meta) bool {
	h.mu.RLock()
	routes := h.checked[m.Src]
	h.mu.RUnlock()
	for _, r := range routes {
		if r.cfg.Receive(b, m, r.direct) {
			return true
		}
	}
	return false
}

func (h *Hub) deliverRequest(b []byte, m packet.Meta) bool {
	ufrag, ok := fragment(b)
	if !ok {
		return false
	}
	h.mu.RLock()
	r := h.routes[string(ufrag)]
	h.mu.RUnlock()
	if r == nil {
		return false
	}
	if r.admit(b, m.Src) {
		r.push(b, m)
	}
	return true
}

func (h *Hub) deliverAnswer(b []byte, m packet.Meta) bool {
	id := transactionOf(b)
	h.mu.RLock()
	q := h.pending[id]
	h.mu.RUnlock()
	if q == nil || q.to != m.Src {
		return false
	}
	h.forget(id)
	if q.conn == nil {
		if a, err := mappedAddress(b); err == nil && typeOf(b) == bindingSuccess {
			select {
			case q.done <- a:
			default: // it was answered twice
			}
		}
		return true
	}
	q.conn.route.answered(q.conn, b, m.Src)
	return true
}

// expect remembers a request. Its sender forgets it.
func (h *Hub) expect(id transaction, q *request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending[id] = q
}

func (h *Hub) forget(ids ...transaction) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		delete(h.pending, id)
	}
}

func (h *Hub) register(r *Route) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.routes[r.ufrag] = r
}

// unregister ends what the hub does for a route.
func (h *Hub) unregister(r *Route, checked []netip.AddrPort) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.routes, r.ufrag)
	for _, a := range checked {
		rest := slices.DeleteFunc(slices.Clone(h.checked[a]), func(o *Route) bool { return o == r })
		if len(rest) == 0 {
			delete(h.checked, a)
		} else {
			h.checked[a] = rest
		}
	}
}

// trust lets DTLS from a reach the route, before other routes to the same
// address.
func (h *Hub) trust(a netip.AddrPort, r *Route) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.routes[r.ufrag] == r {
		h.checked[a] = append([]*Route{r}, h.checked[a]...)
	}
}

// padding makes a request 52 bytes long, as the answer to it is over IPv6: a
// server may answer strangers with no more than they sent.
var padding = stun.NewSoftware("Latchkey STUN client")

// Times of Mapped: an answer is waited for this long, then twice as long, until
// the last time.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 1600 * time.Millisecond
)

// Mapped asks a STUN server which address this socket has for it (RFC 8489). It
// asks again until ctx ends or some three seconds have passed.
func (h *Hub) Mapped(ctx context.Context, server netip.AddrPort) (netip.AddrPort, error) {
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest, padding, stun.Fingerprint)
	if err != nil {
		return netip.AddrPort{}, err
	}
	id := transaction(m.TransactionID)
	q := &request{to: server, done: make(chan netip.AddrPort, 1)}
	h.expect(id, q)
	defer h.forget(id)
	for wait := firstRetry; wait <= lastRetry; wait *= 2 {
		if err := h.cfg.Send(m.Raw, server, netip.Addr{}); err != nil {
			return netip.AddrPort{}, err
		}
		timer := time.NewTimer(wait)
		select {
		case a := <-q.done:
			timer.Stop()
			return a, nil
		case <-ctx.Done():
			timer.Stop()
			return netip.AddrPort{}, context.Cause(ctx)
		case <-timer.C:
		}
	}
	return netip.AddrPort{}, errors.New("route: the STUN server does not answer")
}
