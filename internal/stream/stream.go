package stream

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// A Stream is one tunnel. It is a net.Conn whose directions end apart:
// CloseWrite ends ours, io.EOF from Read says that the peer ended its own. Its
// methods are safe for concurrent use.
//
// After the peer reset it, Read and Write fail with a *latchkey.RemoteError
// that matches the sentinel of the peer's code; after the session ended, with
// the cause given to Mux.Close; after our own Close or Reset, with
// net.ErrClosed.
type Stream struct {
	m       *Mux
	c       *channel
	service string
	ticket  *ticket                 // of an open of ours; nil for the peer's
	ctx     context.Context         // that of Incoming; nil for an open of ours
	cancel  context.CancelCauseFunc // ends ctx; nil likewise

	rmu sync.Mutex // one reader at a time; held while it waits
	wmu sync.Mutex // one writer at a time; held while it waits

	// mu guards what follows. Neither the SCTP library nor the Mux is called
	// under it.
	mu     sync.Mutex
	state  state
	opened chan struct{} // closed when state is no longer stateAsked, or over
	flow   *datagrams    // of a flow, nil otherwise
	over   bool          // both directions have ended
	linger *time.Timer
	in     inbound
	out    outbound
}

var (
	_ net.Conn    = (*Stream)(nil)
	_ io.WriterTo = (*Stream)(nil)
	_ receiver    = (*Stream)(nil)
)

// A state says how far an open has come.
type state uint8

const (
	stateAsked    state = iota // by us: the answer is awaited
	stateOffered               // by the peer: its first message will say what it is
	statePending               // by the peer: Config.Accept has to answer
	stateAccepted              // payload may flow both ways
)

// inbound is the direction from the peer.
type inbound struct {
	buf      buffer
	win      window
	fin      bool  // no payload will follow
	err      error // reads fail with it
	wake     signal
	deadline deadline
}

// outbound is the direction to the peer.
type outbound struct {
	credit   int64 // absolute offset up to which we may send
	sent     int64
	ending   bool  // CloseWrite was called
	fin      bool  // and fin was sent
	err      error // writes fail with it
	wake     signal
	deadline deadline
}

func (m *Mux) newStream(c *channel, service string, st state) *Stream {
	s := &Stream{m: m, c: c, service: service, state: st, opened: make(chan struct{})}
	s.in.wake, s.out.wake = newSignal(), newSignal()
	s.in.win.open(m.pool)
	c.sctp.OnBufferedAmountLow(s.out.wake.set)
	return s
}

// Service returns the service id that the tunnel was opened for.
func (s *Stream) Service() string { return s.service }

// LocalAddr returns an Addr of network "tcp".
func (s *Stream) LocalAddr() net.Addr { return Addr{"tcp", s.service} }

// RemoteAddr returns an Addr of network "tcp".
func (s *Stream) RemoteAddr() net.Addr { return Addr{"tcp", s.service} }

// SetDeadline implements net.Conn.
func (s *Stream) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn. It holds for a Read that waits, too.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in.deadline.set(t, s.in.wake)
	return nil
}

// SetWriteDeadline implements net.Conn. It holds for a Write that waits, too.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.deadline.set(t, s.out.wake)
	return nil
}
