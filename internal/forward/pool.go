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
	cfg     Config
	closing sync.WaitGroup // for endpoints that are being closed

	mu     sync.Mutex // guards what follows
	closed bool
	shared map[string]*upstream   // by host:port, for new users
	all    map[*upstream]struct{} // that are not being closed
}

// An upstream is an endpoint on a UDP socket of its own.
type upstream struct {
	conn    *coap.UDP
	address string

	// guarded by pool.mu
	users int
	idle  *time.Timer // closes the endpoint; nil before it was idle first
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
	p.release(up, err)
	if err != nil {
		return nil, classify(err)
	}
	answer.Observe = coap.NoObserve
	return fromCoAP(t, answer)
}

// acquire returns an endpoint towards address for one use. It dials without
// the lock, since a name may have to be looked up.
func (p *pool) acquire(ctx context.Context, address string, own bool) (*upstream, error) {
	if !own {
		if up := p.find(address); up != nil {
			return up, nil
		}
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
	up := &upstream{conn: conn, address: address, users: 1}
	p.all[up] = struct{}{}
	if !own && p.shared[address] == nil { // otherwise it serves this one use
		p.shared[address] = up
	}
	p.mu.Unlock()
	return up, nil
}

func errClosed() error { return errors.Join(latchkey.ErrShutdown, net.ErrClosed) }

func (p *pool) find(address string) *upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	up := p.shared[address]
	if up == nil {
		return nil
	}
	up.users++
	if up.idle != nil {
		up.idle.Stop()
	}
	return up
}

// release ends one use. After a failure the next request gets a new endpoint,
// with a new look-up of the server's name.
func (p *pool) release(up *upstream, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	up.users--
	if err != nil && p.shared[up.address] == up {
		delete(p.shared, up.address)
	}
	switch {
	case up.users > 0:
	case p.shared[up.address] != up:
		p.dropLocked(up)
	case up.idle == nil:
		up.idle = time.AfterFunc(p.cfg.Idle, func() { p.expire(up) })
	default:
		up.idle.Reset(p.cfg.Idle)
	}
}

// expire closes an endpoint that is still idle.
func (p *pool) expire(up *upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if up.users == 0 {
		p.dropLocked(up)
	}
}

// dropLocked closes an endpoint, without waiting for it, unless that is done.
func (p *pool) dropLocked(up *upstream) {
	if _, ok := p.all[up]; !ok {
		return
	}
	delete(p.all, up)
	if p.shared[up.address] == up {
		delete(p.shared, up.address)
	}
	if up.idle != nil {
		up.idle.Stop()
	}
	p.closing.Go(func() { _ = up.conn.Close() }) // ends with the endpoint's goroutines
}

// close ends every endpoint and with it every request under way.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for up := range p.all {
		p.dropLocked(up)
	}
	p.mu.Unlock()
	p.closing.Wait()
}
