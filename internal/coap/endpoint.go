package coap

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/udp/client"
)

// An Endpoint is one side of a session. Make one with New. Its methods may be
// called from several goroutines.
type Endpoint struct {
	cfg     Config
	log     *slog.Logger
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	seed    maphash.Seed
	szx     uint8         // exponent of Config.BlockSize
	ordered bool          // messages arrive in the order they were sent (RFC 8323 section 7.1)
	window  chan struct{} // one element for each open request of ours
	tags    atomic.Uint32 // of the last Request-Tag

	workers workers

	mu           sync.Mutex // guards what follows; never held while Send, Handler or go-coap run
	closed       bool
	conn         *client.Conn // made for the first request of ours
	exchanges    map[token]*exchange
	watches      map[token]*watch
	outbox       outbox
	replies      replies
	running      map[*reply]struct{} // requests of the peer without an answer
	uploads      []*upload
	held         int // bytes of bodies in uploads and in requests made of them
	downloads    []*download
	reviews      int // calls of Review
	observations map[token]*Observation
	sequence     uint32 // of the last notification
}

// New returns an endpoint. It starts no goroutine: the first request of ours
// starts one, and the peer's requests start workers, which end when there is
// nothing to do. After Close all of them end. It panics without Config.Send.
func New(cfg Config) *Endpoint {
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	return &Endpoint{
		cfg:          cfg,
		log:          cfg.Log,
		ctx:          ctx,
		cancel:       cancel,
		seed:         maphash.MakeSeed(),
		szx:          exponent(cfg.BlockSize),
		window:       make(chan struct{}, cfg.InFlight),
		workers:      newWorkers(cfg.Workers, cfg.Queue),
		exchanges:    make(map[token]*exchange),
		watches:      make(map[token]*watch),
		outbox:       newOutbox(cfg.AckTimeout),
		running:      make(map[*reply]struct{}),
		observations: make(map[token]*Observation),
	}
}

// Deliver takes one datagram from the peer. It does not block and does not
// keep b. A datagram that is no CoAP message is dropped; a confirmable one
// that cannot be understood is answered by Reset.
func (e *Endpoint) Deliver(b []byte) {
	if e.ctx.Err() != nil {
		return
	}
	m := frames.Get().(*frame)
	defer m.release()
	err := m.parse(b)
	switch {
	case err != nil:
		e.malformed(&m.message, b, err)
	case m.code == empty:
		e.control(&m.message)
	case m.code.Class() == 0:
		e.request(&m.message, b)
	case m.code.answers():
		e.response(&m.message, b)
	default:
		e.reject(&m.message)
	}
}

// malformed answers a request with more options than we read, so that its
// sender learns why, rejects other confirmable messages, and drops the rest.
func (e *Endpoint) malformed(m *message, b []byte, err error) {
	switch {
	case errors.Is(err, errNotCoAP):
	case errors.Is(err, errManyOptions) && m.code.Class() == 0 && m.typ <= codec.NonConfirmable:
		e.refuse(m, b, BadOption)
	default:
		e.reject(m)
	}
}

// reject answers a confirmable message that means nothing here (RFC 7252
// section 4.2) and ignores all others.
func (e *Endpoint) reject(m *message) {
	if m.typ == codec.Confirmable {
		e.send(bare(codec.Reset, m.id))
	}
}

// control handles empty messages: a ping, an acknowledgement, a reset.
func (e *Endpoint) control(m *message) {
	var over error
	switch m.typ {
	case codec.Confirmable:
		e.send(bare(codec.Reset, m.id))
		return
	case codec.Acknowledgement:
	case codec.Reset:
		over = ErrReset
	default:
		return
	}
	e.mu.Lock()
	p := e.outbox.take(m.id)
	var conn *client.Conn
	if p != nil && e.exchanges[p.token] != nil {
		conn = e.conn
	}
	e.mu.Unlock()
	if p == nil {
		return
	}
	p.finish(over)
	if conn != nil && over == nil {
		e.show(conn, bare(codec.Acknowledgement, m.id))
	}
}

// show gives go-coap's connection a message that one of its requests waits
// for. Its goroutine only hands messages on, so there is always room soon.
func (e *Endpoint) show(conn *client.Conn, b []byte) {
	if err := conn.Process(nil, b); err != nil {
		e.log.Debug("coap message dropped", "err", err)
	}
}

// send transmits a datagram; an error is loss.
func (e *Endpoint) send(b []byte) {
	if e.ctx.Err() != nil {
		return
	}
	if err := e.cfg.Send(b); err != nil {
		e.log.Debug("coap datagram lost", "err", err)
	}
}

// Tick repeats what was not acknowledged by now, acknowledges requests whose
// answer takes long, and forgets what has expired. Call it about every 100 ms.
func (e *Endpoint) Tick(now time.Time) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	out, lost := e.outbox.due(now)
	out = append(out, e.slowLocked(now)...)
	e.replies.expire(now)
	e.expireLocked(now)
	e.mu.Unlock()
	e.workers.rest()
	for _, p := range lost {
		p.finish(ErrNoAnswer)
	}
	for _, b := range out {
		e.send(b)
	}
}

// Ping returns nil when the peer has answered an empty confirmable message, by
// Reset or acknowledgement (RFC 7252 section 4.3). Otherwise the error is
// ErrNoAnswer, net.ErrClosed or the cause of ctx.
func (e *Endpoint) Ping(ctx context.Context) error {
	answered := make(chan error, 1)
	p := &pending{over: func(err error) { answered <- err }}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return net.ErrClosed
	}
	id := e.outbox.nextID()
	p.data = bare(codec.Confirmable, id)
	e.outbox.add(id, p)
	e.mu.Unlock()
	e.send(p.data)
	select {
	case err := <-answered:
		if errors.Is(err, ErrReset) {
			return nil
		}
		return err
	case <-ctx.Done():
		e.mu.Lock()
		e.outbox.drop(p)
		e.mu.Unlock()
		return context.Cause(ctx)
	}
}

// Abort ends every request and ping of ours that is under way with err. The
// endpoint goes on; a socket's owner calls it when the path reports that
// nobody is there.
func (e *Endpoint) Abort(err error) {
	e.mu.Lock()
	var over []*pending
	for id, p := range e.outbox.byID {
		if p.over != nil && p.renew == nil {
			delete(e.outbox.byID, id)
			over = append(over, p)
		}
	}
	for _, x := range e.exchanges {
		x.fail(err)
	}
	e.mu.Unlock()
	for _, p := range over {
		p.finish(err)
	}
}

// Close ends everything under way: requests of ours return net.ErrClosed, the
// context of handlers ends, observations are done. It sends nothing and does
// not wait; see Wait.
func (e *Endpoint) Close() {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	e.closed = true
	over := e.outbox.byID
	e.outbox.byID = make(map[uint16]*pending)
	for _, o := range e.observations {
		o.endLocked()
	}
	e.replies, e.uploads, e.downloads = replies{}, nil, nil
	e.mu.Unlock()
	e.workers.close()
	e.cancel()
	for _, p := range over {
		p.finish(net.ErrClosed)
	}
}

// Wait returns after Close, when the last handler has returned.
func (e *Endpoint) Wait() {
	<-e.ctx.Done()
	e.workers.wait()
}
