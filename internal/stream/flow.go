package stream

import (
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/pion/sctp"

	"github.com/latchkey-dev/latchkey"
)

const (
	// maxDatagram is the largest payload of a UDP datagram over IPv4.
	maxDatagram = 65507
	// maxQueued is how many datagrams wait to be read.
	maxQueued = 256
	// maxWaiting is how many bytes of datagrams wait to be sent beyond what
	// the path takes at once.
	maxWaiting = 128 << 10
)

// A Flow carries datagrams of one UDP tunnel. It is a net.Conn on which each
// Write sends one datagram and each Read returns one. Datagrams may be lost,
// reordered, and dropped at either end: the oldest when too many wait to be
// read, the newest when too many wait to be sent. Its methods are safe for
// concurrent use and fail as those of a Stream do; when the peer ends the flow,
// Read returns io.EOF after what had arrived.
type Flow struct {
	s     *Stream // the reliable channel: answer, reason and end
	queue *datagrams
}

var _ net.Conn = (*Flow)(nil)

// Service returns the service id that the flow was opened for.
func (f *Flow) Service() string { return f.s.service }

// Read returns one datagram. What does not fit in p is lost.
func (f *Flow) Read(p []byte) (int, error) {
	s := f.s
	s.rmu.Lock()
	defer s.rmu.Unlock()
	for {
		s.mu.Lock()
		_, err := s.in.next()
		s.mu.Unlock()
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if b, ok := f.queue.pop(); ok {
			return copy(p, b), nil
		}
		if err != nil {
			return 0, err
		}
		<-s.in.wake
	}
}

// Write sends one datagram of at most 65507 bytes. It never waits.
func (f *Flow) Write(p []byte) (int, error) {
	s := f.s
	s.mu.Lock()
	err := s.out.check()
	s.mu.Unlock()
	switch {
	case err != nil:
		return 0, err
	case len(p) > maxDatagram:
		return 0, latchkey.ErrTooLarge
	}
	f.queue.send(p)
	return len(p), nil
}

// Close ends the flow; the peer reads io.EOF.
func (f *Flow) Close() error { return f.s.Close() }

// Reset ends the flow and tells the peer why; 0 stands for CodeReset.
func (f *Flow) Reset(code latchkey.Code) { f.s.Reset(code) }

// LocalAddr returns an Addr of network "udp".
func (f *Flow) LocalAddr() net.Addr { return Addr{"udp", f.s.service} }

// RemoteAddr returns an Addr of network "udp".
func (f *Flow) RemoteAddr() net.Addr { return Addr{"udp", f.s.service} }

// SetDeadline implements net.Conn.
func (f *Flow) SetDeadline(t time.Time) error { return f.s.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (f *Flow) SetReadDeadline(t time.Time) error { return f.s.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (f *Flow) SetWriteDeadline(t time.Time) error { return f.s.SetWriteDeadline(t) }

// datagrams is the second channel of a flow: what arrived on it, and the way
// out. The peer may open it before or after the first channel.
type datagrams struct {
	m      *Mux
	stream uint16 // id of the first channel
	wake   signal // set when a datagram arrived

	mu     sync.Mutex
	c      *channel // nil before it was opened
	closed bool
	queue  [][]byte
	bytes  int64
	limit  int64 // of bytes; grows when the flow is accepted
}

func newDatagrams(m *Mux, stream uint16) *datagrams {
	return &datagrams{m: m, stream: stream, wake: newSignal(), limit: floorCredit}
}

// beFlow makes a stream the first channel of a flow. The caller holds s.mu, or
// nobody else knows s yet.
func (s *Stream) beFlow(q *datagrams) { s.flow, s.in.wake = q, q.wake }

// attach sets the channel, once.
func (q *datagrams) attach(c *channel) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.c != nil || q.closed {
		return false
	}
	q.c = c
	return true
}

func (q *datagrams) setLimit(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit = n
}

// ask opens the channel of a flow of ours. Until the peer has answered, what
// is sent on it stays in order (RFC 8832 section 6).
func (q *datagrams) ask() error {
	return q.c.dcep(dcepOpenMessage{
		channelType: channelUnorderedRexmit,
		priority:    dcepPriorityNormal,
		label:       strconv.Itoa(int(q.stream)),
		protocol:    protocolDatagram,
	}.append(nil))
}

// unorder lets datagrams overtake and lose each other from now on.
func (c *channel) unorder() {
	c.sctp.SetReliabilityParams(true, sctp.ReliabilityTypeRexmit, 0)
}

// send sends one datagram, or drops it when too many wait.
func (q *datagrams) send(p []byte) {
	q.mu.Lock()
	c := q.c
	q.mu.Unlock()
	if c == nil || c.sctp.BufferedAmount() > q.m.inFlight()+maxWaiting {
		return
	}
	if len(p) == 0 {
		_ = c.payload([]byte{0}, ppiEmpty)
		return
	}
	_ = c.payload(p, ppiBinary) // fails only at the end, which Write will find
}

// push queues a datagram and drops the oldest ones beyond the limits.
func (q *datagrams) push(b []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || int64(len(b)) > q.limit {
		return
	}
	q.queue = append(q.queue, b)
	q.bytes += int64(len(b))
	for len(q.queue) > maxQueued || q.bytes > q.limit {
		q.popLocked()
	}
	q.wake.set()
}

func (q *datagrams) pop() ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		return nil, false
	}
	return q.popLocked(), true
}

func (q *datagrams) popLocked() []byte {
	b := q.queue[0]
	q.queue[0] = nil
	q.queue = q.queue[1:]
	q.bytes -= int64(len(b))
	return b
}

// close closes the channel, now or when it is opened.
func (q *datagrams) close() {
	q.mu.Lock()
	c := q.c
	q.closed = true
	q.mu.Unlock()
	if c != nil {
		c.close()
	}
	q.m.mu.Lock()
	defer q.m.mu.Unlock()
	delete(q.m.flows, q.stream)
}

// reserve implements receiver.
func (q *datagrams) reserve(n int) []byte { return make([]byte, n) }

// tooLarge implements receiver.
func (q *datagrams) tooLarge() receiver { return q }

// receive implements receiver. A message of another kind is dropped, as a
// damaged datagram would be.
func (q *datagrams) receive(ppi sctp.PayloadProtocolIdentifier, b []byte) receiver {
	switch {
	case ppi == ppiBinary && len(b) <= maxDatagram:
		q.push(b)
	case ppi == ppiEmpty:
		q.push(nil)
	case ppi == ppiDCEP && isDCEPAck(b) && q.m.cfg.Client:
		q.c.unorder()
	}
	return q
}

// ended implements receiver. The first channel decides when the flow ends; a
// queue whose first channel never came goes with its own.
func (q *datagrams) ended() {
	q.m.mu.Lock()
	defer q.m.mu.Unlock()
	if q.m.streams[q.stream] == nil && q.m.flows[q.stream] == q {
		delete(q.m.flows, q.stream)
	}
}

// flowQueue returns the queue of the flow that has the stream id as its first
// channel, nil if that cannot be one.
func (m *Mux) flowQueue(id uint16) *datagrams {
	m.mu.Lock()
	defer m.mu.Unlock()
	if q := m.flows[id]; q != nil {
		return q
	}
	s := m.streams[id]
	gone := s == nil && m.used.has(id) && !m.opening[id]
	if gone || s != nil && !s.undecided() || id%2 != 0 || len(m.flows) >= m.cfg.Limits.Streams+m.cfg.Limits.Unanswered {
		return nil
	}
	q := newDatagrams(m, id)
	m.flows[id] = q
	return q
}

// undecided says that the first message of an open has not come yet.
func (s *Stream) undecided() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == stateOffered && !s.over
}
