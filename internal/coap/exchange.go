package coap

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"

	codec "github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/udp/client"

	"github.com/latchkey-dev/latchkey"
)

// An exchange is one request message of ours that waits for its answer.
type exchange struct {
	id       uint16
	fail     context.CancelCauseFunc
	answered bool          // the connection has the answer
	taken    chan struct{} // closed when the requester has it too, or has given up
}

// A part is what one message of a request carries beside the request's own
// options: all of the body or a block of it, or the wish for a block.
type part struct {
	token          token // zero: a new one
	observe        int
	block1, block2 block
	size1          int // 0: not announced
	tag            []byte
	body           []byte
}

// exchange sends one message of a request and returns the answer to it.
func (e *Endpoint) exchange(ctx context.Context, r *Request, p part) (*answer, error) {
	select {
	case e.window <- struct{}{}:
		defer func() { <-e.window }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-e.ctx.Done():
		return nil, net.ErrClosed
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if p.token.n == 0 {
		p.token = newToken()
	}
	x := &exchange{fail: fail, taken: make(chan struct{})}
	conn, err := e.open(p.token, x)
	if err != nil {
		return nil, err
	}
	defer e.shut(p.token, x)

	m := conn.AcquireMessage(ctx)
	defer conn.ReleaseMessage(m)
	m.SetType(codec.Confirmable)
	m.SetMessageID(int32(x.id))
	m.SetToken(p.token.bytes())
	m.SetCode(codes.Code(r.Code))
	m.ResetOptionsTo(requestOptions(r, p))
	if len(p.body) > 0 {
		m.SetBody(bytes.NewReader(p.body))
	}
	got, err := conn.Do(m)
	if err != nil {
		return nil, e.cause(ctx, err)
	}
	defer conn.ReleaseMessage(got)
	body, err := bodyOf(got)
	if err != nil {
		return nil, err
	}
	return readAnswer(Code(got.Code()), got.Options(), body), nil
}

// cause tells why an exchange failed: the reason is in the contexts.
func (e *Endpoint) cause(ctx context.Context, err error) error {
	switch {
	case e.ctx.Err() != nil:
		return net.ErrClosed
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

// bodyOf returns the payload where go-coap keeps it.
func bodyOf(m *pool.Message) ([]byte, error) {
	size, err := m.BodySize()
	if err != nil || size == 0 {
		return nil, err
	}
	b := make([]byte, size)
	if _, err := m.Body().Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	_, err = io.ReadFull(m.Body(), b)
	return b, err
}

// requestOptions returns the options of one message of a request, in order.
func requestOptions(r *Request, p part) codec.Options {
	o := make(options, 0, len(r.Path)+len(r.Query)+len(r.Options)+8)
	if p.observe != NoObserve {
		o.uint(codec.Observe, uint32(p.observe))
	}
	for _, s := range r.Path {
		o.bytes(codec.URIPath, []byte(s))
	}
	if r.Format > 0 || len(p.body) > 0 {
		o.format(codec.ContentFormat, r.Format)
	}
	for _, s := range r.Query {
		o.bytes(codec.URIQuery, []byte(s))
	}
	o.format(codec.Accept, r.Accept)
	p.block2.addTo(&o, codec.Block2)
	p.block1.addTo(&o, codec.Block1)
	if p.size1 > 0 {
		o.uint(codec.Size1, uint32(p.size1))
	}
	if p.tag != nil {
		o.bytes(requestTag, p.tag)
	}
	o.extra(r.Options)
	return o.sorted()
}

// newToken draws a token that nobody off the path can guess and that is not
// used again in a session.
func newToken() token {
	t := token{n: maxToken}
	_, _ = rand.Read(t.b[:]) // never fails (crypto/rand)
	return t
}

// open makes room for an exchange, gives it a message id and returns the
// connection that carries it.
func (e *Endpoint) open(t token, x *exchange) (*client.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, net.ErrClosed
	}
	if e.conn == nil {
		e.conn = newConn(e)
	}
	x.id = e.outbox.nextID()
	e.exchanges[t] = x
	return e.conn, nil
}

// transmit sends a request of an open exchange until it is acknowledged.
func (e *Endpoint) transmit(id uint16, t codec.Token, b []byte) error {
	if len(b) > maxDatagram {
		return latchkey.ErrTooLarge
	}
	b = bytes.Clone(b)
	p := &pending{data: b}
	p.token.n = uint8(copy(p.token.b[:], t))
	e.mu.Lock()
	x := e.exchanges[p.token]
	if x == nil || x.id != id {
		e.mu.Unlock()
		return net.ErrClosed
	}
	p.over = func(err error) {
		if err != nil {
			x.fail(err)
		}
	}
	e.outbox.add(id, p)
	e.mu.Unlock()
	e.send(b)
	return nil
}

// shut forgets an exchange, whether it was answered or given up.
func (e *Endpoint) shut(t token, x *exchange) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.exchanges, t)
	close(x.taken)
	if p := e.outbox.byID[x.id]; p != nil && p.token == t {
		e.outbox.drop(p)
	}
}
