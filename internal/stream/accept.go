package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/pion/sctp"

	"github.com/latchkey-dev/latchkey"
)

// errFlood is what an association ends with whose peer opens channels faster
// than it closes those that are over.
var errFlood = fmt.Errorf("stream: too many channels that do not close: %w", latchkey.ErrProtocol)

// errAnswered is what the second answer to an open fails with.
var errAnswered = errors.New("stream: the open was answered before")

// accept takes a channel of the peer's. It fails when the peer has to be
// got rid of.
func (m *Mux) accept(st *sctp.Stream) error {
	c := &channel{id: st.StreamIdentifier(), sctp: st}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.cause != nil: // the association is about to end
	case m.channels >= m.cfg.Limits.Streams+maxEnding:
		return errFlood
	case m.cfg.Client || c.id%2 != 0 || !m.used.add(c.id):
		// Not theirs to open, or used before: SCTP would confuse the two.
		m.startReading(c, discard{})
		c.last(control{kind: controlRefuse, code: latchkey.CodeProtocol})
	default:
		m.opening[c.id] = true
		m.startReading(c, &opening{m, c})
	}
	return nil
}

// An opening receives the first message of a channel: its DCEP open.
type opening struct {
	m *Mux
	c *channel
}

func (o *opening) reserve(n int) []byte { return make([]byte, n) }
func (o *opening) ended()               {}
func (o *opening) tooLarge() receiver   { return o.refuse(latchkey.CodeProtocol) }

// judged says that no open will come any more.
func (o *opening) judged() {
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	delete(o.m.opening, o.c.id)
}

func (o *opening) refuse(code latchkey.Code) receiver {
	o.c.last(control{kind: controlRefuse, code: code})
	return discard{}
}

func (o *opening) receive(ppi sctp.PayloadProtocolIdentifier, b []byte) receiver {
	defer o.judged()
	open, err := parseDCEPOpen(b)
	if err != nil || ppi != ppiDCEP {
		return o.refuse(latchkey.CodeProtocol)
	}
	to, code := o.judge(open)
	_ = o.c.dcep([]byte{dcepAck}) // fails only at the end of the association
	if code != 0 {
		return o.refuse(code)
	}
	return to
}

// judge returns what receives the messages that follow, or why there is none.
func (o *opening) judge(open dcepOpenMessage) (receiver, latchkey.Code) {
	switch {
	case open.protocol == protocolTunnel && open.channelType == channelReliable:
		return o.tunnel(open.label)
	case open.protocol == protocolDatagram && open.channelType == channelUnorderedRexmit && open.reliability == 0:
		return o.datagrams(open.label)
	}
	return nil, latchkey.CodeNotFound
}

// tunnel makes the stream of an open. Config.Accept hears of it with the next
// message, which says whether it is a flow.
func (o *opening) tunnel(service string) (receiver, latchkey.Code) {
	m := o.m
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.cause != nil:
		return nil, latchkey.CodeShutdown
	case m.cfg.Accept == nil || service == "" || len(service) > maxService:
		return nil, latchkey.CodeNotFound
	case m.live >= m.cfg.Limits.Streams, m.unanswered >= m.cfg.Limits.Unanswered,
		m.handlers >= 4*m.cfg.Limits.Unanswered, !m.pool.open():
		return nil, latchkey.CodeTooMany
	}
	s := m.newStream(o.c, service, stateOffered)
	s.ctx, s.cancel = context.WithCancelCause(m.ctx)
	m.streams[s.c.id] = s
	m.live++
	m.unanswered++
	return s, 0
}

// datagrams makes the second channel of a flow known to the first, whichever
// comes first.
func (o *opening) datagrams(label string) (receiver, latchkey.Code) {
	id, ok := parseDecimal([]byte(label), maxID)
	if !ok {
		return nil, latchkey.CodeProtocol
	}
	q := o.m.flowQueue(uint16(id))
	if q == nil || !q.attach(o.c) {
		return nil, latchkey.CodeProtocol
	}
	return q, 0
}

// offer has Config.Accept answer an open whose kind is known now.
func (m *Mux) offer(s *Stream, flow bool) {
	var q *datagrams
	if flow {
		q = m.flowQueue(s.c.id)
	}
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		if q != nil {
			q.close()
		}
		return
	}
	s.state = statePending
	if q != nil {
		s.beFlow(q)
	}
	s.mu.Unlock()
	if flow && q == nil {
		s.abort(latchkey.CodeTooMany, latchkey.ErrTooMany)
		return
	}
	m.mu.Lock()
	parked := m.flows[s.c.id]
	m.handlers++
	m.mu.Unlock()
	if parked != q {
		parked.close() // datagrams for what is no flow
	}
	m.wg.Go(func() { m.serve(&Incoming{s: s}) }) // ends when Accept returns
}

// serve calls Config.Accept. A panic there ends the tunnel and not the process.
func (m *Mux) serve(in *Incoming) {
	defer func() {
		if cause := recover(); cause != nil {
			m.cfg.Log.Error("tunnel handler panicked", "op", in.s.service, "err", cause, "stack", string(debug.Stack()))
			in.s.abort(latchkey.CodeInternal, latchkey.ErrInternal)
		}
		in.Refuse(latchkey.CodeInternal) // unless it was answered
		in.s.cancel(nil)
	}()
	m.cfg.Accept(in)
}

// An Incoming is an open of the peer that waits for one answer: Accept,
// AcceptDatagram or Refuse.
type Incoming struct {
	s        *Stream
	answered atomic.Bool
}

// Service returns the service id that the peer asked for, 1 to 255 bytes that
// nobody has judged yet.
func (in *Incoming) Service() string { return in.s.service }

// Datagram reports whether the peer asked for a flow of datagrams, which
// AcceptDatagram accepts.
func (in *Incoming) Datagram() bool {
	in.s.mu.Lock()
	defer in.s.mu.Unlock()
	return in.s.flow != nil
}

// Context ends, with the cause, when the peer gave up, when the open was
// refused, or when the tunnel that it became was reset; and when Config.Accept
// returns. A tunnel whose directions end in their own time does not end it.
func (in *Incoming) Context() context.Context { return in.s.ctx }

// Accept answers yes. It fails when the peer gave up before.
func (in *Incoming) Accept() (*Stream, error) {
	if in.Datagram() {
		return nil, errors.New("stream: a flow of datagrams was asked for")
	}
	if err := in.accept(); err != nil {
		return nil, err
	}
	return in.s, nil
}

// AcceptDatagram answers yes to a flow of datagrams.
func (in *Incoming) AcceptDatagram() (*Flow, error) {
	if !in.Datagram() {
		return nil, errors.New("stream: no flow of datagrams was asked for")
	}
	if err := in.accept(); err != nil {
		return nil, err
	}
	return &Flow{s: in.s, queue: in.s.flow}, nil
}

func (in *Incoming) accept() error {
	if !in.answer() {
		return errAnswered
	}
	s := in.s
	s.mu.Lock()
	if s.over {
		defer s.mu.Unlock()
		return s.out.err
	}
	s.state = stateAccepted
	credit := s.in.win.start(time.Now())
	if s.flow != nil {
		s.flow.setLimit(s.in.win.size)
		credit = 0
	}
	s.mu.Unlock()
	s.m.mu.Lock()
	s.m.unanswered--
	s.m.mu.Unlock()
	return s.c.control(control{kind: controlAccept, credit: credit})
}

// Refuse answers no, with the reason; 0 stands for CodeInternal. It does
// nothing if the open was answered before.
func (in *Incoming) Refuse(code latchkey.Code) {
	if !in.answer() {
		return
	}
	if code == 0 {
		code = latchkey.CodeInternal
	}
	if in.s.endBoth(net.ErrClosed, false) {
		in.s.release(net.ErrClosed)
		in.s.c.last(control{kind: controlRefuse, code: code})
	}
}

// answer reports whether this is the first answer.
func (in *Incoming) answer() bool {
	if !in.answered.CompareAndSwap(false, true) {
		return false
	}
	in.s.m.mu.Lock()
	defer in.s.m.mu.Unlock()
	in.s.m.handlers--
	return true
}
