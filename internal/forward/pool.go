package forward

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

// largeBody is the size from which a request is sent in blocks. Such a request
// has an upstream endpoint of its own, because a server tells block transfers
// to one resource apart by who sends them (RFC 7959 section 2.5).
const largeBody = 1024

// inFlight is how many requests of all clients one server may have open. It is
// above what a few clients can hold up with a server that does not answer.
const inFlight = 1024

// A pool keeps endpoints towards CoAP servers. There are at most as many
// shared ones as the routes name servers.
type pool struct {
	cfg Config

	mu     sync.Mutex // guards what follows
	closed bool
	shared map[string]*upstream   // by host:port, for new users
	all    map[*upstream]struct{} // to be ticked
}

// An upstream is an endpoint on a UDP socket of its own.
type upstream struct {
	conn *coap.UDP

	// guarded by pool.mu
	users int
	idle  time.Time // since when there is no user
}

func newPool(cfg Config) *pool {
	return &pool{cfg: cfg, shared: map[string]*upstream{}, all: map[*upstream]struct{}{}}
}

func (p *pool) do(ctx context.Context, t *target, r *coap.Request) (*coap.Response, error) {
	out, err := toCoAP(t, r)
	if err != nil {
		return nil, err
	}
	up, err := p.acquire(ctx, t.address(), len(r.Body) > largeBody)
	if err != nil {
		return nil, err
	}
	answer, err := up.conn.Do(ctx, out)
	p.release(up, t.address(), err)
	if err != nil {
		return nil, classify(err)
	}
	answer.Observe = coap.NoObserve
	return fromCoAP(t, answer)
}

// acquire returns an endpoint towards address for one use. It dials without
// the lock, since a name may have to be looked up.
func (p *pool) acquire(ctx context.Context, address string, own bool) (*upstream, error) {
	if up := p.find(address, own); up != nil {
		return up, nil
	}
	conn, err := coap.DialUDP(ctx, address, coap.Config{MaxBody: p.cfg.MaxBody, InFlight: inFlight, Log: p.cfg.Log})
	if err != nil {
		return nil, classify(err)
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		_ = conn.Close()
		return nil, errClosed()
	}
	up := &upstream{conn: conn, users: 1}
	p.all[up] = struct{}{}
	if !own && p.shared[address] == nil {
		p.shared[address] = up
	}
	p.mu.Unlock()
	return up, nil
}

func errClosed() error { return errors.Join(latchkey.ErrShutdown, net.ErrClosed) }

func (p *pool) find(address string, own bool) *upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	up := p.shared[address]
	if own || up == nil {
		return nil
	}
	up.users++
	return up
}

// release ends one use. After a failure the next request gets a new endpoint,
// with a new look-up of the server's name.
func (p *pool) release(up *upstream, address string, err error) {
	p.mu.Lock()
	up.users--
	up.idle = time.Now()
	if err != nil && p.shared[address] == up {
		delete(p.shared, address)
	}
	drop := up.users == 0 && p.shared[address] != up
	if drop {
		delete(p.all, up)
	}
	p.mu.Unlock()
	if drop {
		_ = up.conn.Close()
	}
}

// tick drives retransmissions and closes endpoints that were idle too long.
func (p *pool) tick(now time.Time) {
	var live, idle []*upstream
	p.mu.Lock()
	for address, up := range p.shared {
		if up.users == 0 && now.Sub(up.idle) >= p.cfg.Idle {
			delete(p.shared, address)
			delete(p.all, up)
			idle = append(idle, up)
		}
	}
	for up := range p.all {
		live = append(live, up)
	}
	p.mu.Unlock()
	for _, up := range live {
		up.conn.Tick(now)
	}
	for _, up := range idle {
		_ = up.conn.Close()
	}
}

// close ends every endpoint and with it every request under way.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	all := p.all
	p.shared, p.all = map[string]*upstream{}, map[*upstream]struct{}{}
	p.mu.Unlock()
	for up := range all {
		_ = up.conn.Close()
	}
}
