package coap

import (
	"context"
	"net"
	"time"
)

// An Endpoint is one side of a session.
type Endpoint struct{ cfg Config }

// New returns an endpoint. It starts no goroutine. It panics without Send.
func New(cfg Config) *Endpoint { return &Endpoint{cfg: cfg} }

// Deliver takes one datagram from the peer. It never blocks and does not keep b.
func (e *Endpoint) Deliver(b []byte) {}

// Tick repeats what was not acknowledged and drops what has expired.
func (e *Endpoint) Tick(now time.Time) {}

// Do sends a request and returns the whole response.
func (e *Endpoint) Do(ctx context.Context, r *Request) (*Response, error) { return nil, net.ErrClosed }

// Observe registers for r and calls fn with each representation.
func (e *Endpoint) Observe(ctx context.Context, r *Request, fn func(*Response)) error {
	return net.ErrClosed
}

// Ping returns when the peer has answered an empty confirmable message.
func (e *Endpoint) Ping(ctx context.Context) error { return net.ErrClosed }

// Close ends everything under way.
func (e *Endpoint) Close() {}

// Wait returns after Close, when the last handler has returned.
func (e *Endpoint) Wait() {}

// Abort ends every request of ours that is under way with err.
func (e *Endpoint) Abort(err error) {}

// Forget drops unfinished block transfers of the peer.
func (e *Endpoint) Forget() {}

// An Observation is a peer's standing interest in one resource.
type Observation struct{ done chan struct{} }

// Notify sends the new representation.
func (o *Observation) Notify(r *Response) {}

// Done is closed when the observation has ended.
func (o *Observation) Done() <-chan struct{} { return o.done }

// Close ends the observation.
func (o *Observation) Close() {}

// UDP is an Endpoint on a connected UDP socket of its own.
type UDP struct{ *Endpoint }

// DialUDP returns an endpoint for a plain CoAP server at "host:port".
func DialUDP(ctx context.Context, addr string, cfg Config) (*UDP, error) { return nil, net.ErrClosed }

// Close ends everything under way and waits for every goroutine.
func (u *UDP) Close() error { return nil }
