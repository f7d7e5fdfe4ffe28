package secure

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

const (
	// A link queues up to maxQueue chunks in a session, 1 MiB, and up to
	// helloQueue before. What comes in when it is full is lost.
	maxQueue   = 128
	helloQueue = 4
	// earlyQueue is for payload of a peer that finished its handshake before we
	// have.
	earlyQueue = 4
	// maxRepeated is how many datagrams the library may send in a session. It
	// repeats its last flight for a peer that missed it.
	maxRepeated = 100
	// handshakeBudget is how many bytes a whole handshake may take in. An
	// honest one needs a tenth of it, repeats included.
	handshakeBudget = 64 << 10
)

// A link is what the DTLS library takes for its socket (net.PacketConn). It
// filters and queues what is delivered and passes on what is sent.
type link struct {
	client bool
	conn   atomic.Pointer[Conn] // that takes what arrives, once it serves

	mu       sync.Mutex
	send     func([]byte) error
	arrival  sync.Cond // for ReadFrom: of records, expiry or closing; its lock is mu
	waiting  bool      // a read waits for arrival
	expired  bool      // the read deadline is over
	closed   bool
	released bool // the library has no part in the session any more
	mute     bool // what is sent is lost
	phase    phase
	admits   func(p phase, r record, client bool) bool // phase.admits but in tests
	queue    queue                                     // what the library is to read
	payload  queue                                     // what came before the session served
	repeated int                                       // datagrams of the library since the session began
	budget   int                                       // bytes that may still come in before the session
	facts    facts
	sendErr  error // the last failure to send
	onProven func()
}

func newLink(client bool, send func([]byte) error) *link {
	l := &link{client: client, send: send, admits: phase.admits, budget: handshakeBudget}
	l.arrival.L = &l.mu
	if client {
		l.phase = shaking // we spoke first; there is no cookie to wait for
	}
	return l
}

// deliver takes a datagram: the session opens it, if there is one, else the
// records that belong to the present phase are queued. It reports whether the
// session found something authentic.
func (l *link) deliver(b []byte, m packet.Meta) bool {
	c := l.conn.Load()
	if c == nil {
		c = l.await(b, m)
	}
	return c != nil && c.receive(b, m.Src)
}

// await queues the records of a datagram that belong to the present phase,
// unless there is a session by now, which it returns.
func (l *link) await(b []byte, m packet.Meta) *Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.conn.Load(); c != nil {
		return c
	}
	accepted, finished := false, false
	for len(b) > 0 && !l.closed {
		r, rest, ok := nextRecord(b)
		if !ok {
			break
		}
		b = rest
		switch {
		case !l.admits(l.phase, r, l.client):
		case l.phase == open && r.kind != typeHandshake:
			l.payload.push(r.raw, maxQueue)
		case l.phase != open && r.kind == typeApplicationData:
			l.payload.push(r.raw, earlyQueue)
		case l.push(r):
			accepted = true
			finished = finished || r.kind == typeHandshake && r.epoch == 1
		}
	}
	if accepted && l.phase != open {
		l.facts.note(m, finished)
	}
	if accepted {
		l.wake()
	}
	return nil
}

// wake tells a waiting read that there are records. The caller holds mu.
func (l *link) wake() {
	if l.waiting {
		l.waiting = false
		l.arrival.Signal()
	}
}

// repeat gives the library a handshake record that came in a session: the peer
// missed our last flight.
func (l *link) repeat(r record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed && l.push(r) {
		l.wake()
	}
}

// serve makes c take what arrives from now on, and returns nil; or else what
// arrived before, for c to open first. Its taker gives it back to chunks.
func (l *link) serve(c *Conn) *chunk {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.payload.empty() {
		l.conn.Store(c)
		return nil
	}
	return l.payload.pop()
}

// push queues a record for the library, unless the queue is full or the
// handshake has used up its budget. The caller holds mu.
func (l *link) push(r record) bool {
	if l.phase != open {
		if l.budget < len(r.raw) {
			return false
		}
		l.budget -= len(r.raw)
	}
	return l.queue.push(r.raw, helloQueue)
}

// transmit sends one record of the session. One that cannot be sent is a lost
// datagram.
func (l *link) transmit(b []byte) {
	l.mu.Lock()
	quiet, send := l.mute || l.closed && !l.released, l.send
	l.mu.Unlock()
	if !quiet {
		_ = send(b)
	}
}

// peer adds the facts of the handshake to what the library knows.
func (l *link) peer(p Peer) Peer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.facts.of(p)
}

// enter changes the phase.
func (l *link) enter(p phase) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phase = p
}

// setSend replaces the function that sends.
func (l *link) setSend(send func([]byte) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.send = send
}

// silence makes everything sent from now on be lost.
func (l *link) silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mute = true
}

// release lets the session go on without the library: what that sends from now
// on is lost, and that it closes the link ends nothing else.
func (l *link) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
}

// lastSendErr returns the last failure to send, nil if there was none.
func (l *link) lastSendErr() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sendErr
}

// ReadFrom implements net.PacketConn. It returns the records of as many
// datagrams as wait and fit.
func (l *link) ReadFrom(b []byte) (int, net.Addr, error) {
	l.mu.Lock()
	for l.queue.empty() && !l.closed && !l.expired {
		l.waiting = true
		l.arrival.Wait()
	}
	l.waiting = false
	switch {
	case l.closed:
		l.mu.Unlock()
		return 0, nil, net.ErrClosed
	case l.expired:
		l.mu.Unlock()
		return 0, nil, os.ErrDeadlineExceeded
	}
	c := l.queue.pop()
	l.mu.Unlock()
	n := copy(b, c.data[:c.size])
	chunks.Put(c)
	return n, linkAddr{}, nil
}

// WriteTo implements net.PacketConn. A datagram that cannot be sent is a lost
// datagram; DTLS and what is above repeat what matters.
func (l *link) WriteTo(b []byte, _ net.Addr) (int, error) {
	l.mu.Lock()
	if l.phase == open {
		l.repeated++
	}
	closed, mute, send := l.closed, l.mute || l.released || l.repeated > maxRepeated, l.send
	proven := l.phase == greeting && isServerHello(b)
	if proven {
		l.phase = shaking
	}
	l.mu.Unlock()
	switch {
	case closed:
		return 0, net.ErrClosed
	case mute:
		return len(b), nil
	}
	if proven && l.onProven != nil {
		l.onProven()
	}
	if err := send(b); err != nil {
		l.mu.Lock()
		l.sendErr = err
		l.mu.Unlock()
	}
	return len(b), nil
}

// isServerHello reports whether a datagram of ours begins with a ServerHello,
// which the library sends only to a client that returned its cookie.
func isServerHello(b []byte) bool {
	r, _, ok := nextRecord(b)
	return ok && r.kind == typeHandshake && r.epoch == 0 && len(r.raw) > headerSize && r.body()[0] == helloServer
}

// SetReadDeadline implements net.PacketConn. The library only ever sets a time
// long past, to interrupt a read, or none.
func (l *link) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	l.expired = !t.IsZero()
	l.mu.Unlock()
	l.arrival.Broadcast()
	return nil
}

// SetWriteDeadline implements net.PacketConn; writes do not wait.
func (l *link) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline implements net.PacketConn.
func (l *link) SetDeadline(t time.Time) error { return l.SetReadDeadline(t) }

// Close implements net.PacketConn.
func (l *link) Close() error {
	l.mu.Lock()
	l.closed = true
	l.queue.clear()
	l.payload.clear()
	l.mu.Unlock()
	l.arrival.Broadcast()
	return nil
}

// LocalAddr implements net.PacketConn.
func (l *link) LocalAddr() net.Addr { return linkAddr{} }

// linkAddr stands for both ends of a link, which has no addresses.
type linkAddr struct{}

func (linkAddr) Network() string { return "udp" }
func (linkAddr) String() string  { return "link" }
