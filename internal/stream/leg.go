package stream

import (
	"bytes"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// legBytes bounds the memory of packets that wait for the association:
	// 4096 of the usual size. What comes beyond is lost, as on a full network
	// interface.
	legBytes = 8 << 20
	// maxPacket is the most that the association reads at once.
	maxPacket = 8192
)

// A packet is one datagram on its way into the association.
type packet struct{ data []byte }

var packets = sync.Pool{New: func() any { return &packet{data: make([]byte, 0, 2048)} }}

// A leg is the net.Conn below an association. Reads come from deliver, writes
// go to send, and a write fails only when the session is over, because that
// ends the association: a path that is down is loss.
type leg struct {
	send func([]byte) error

	mu      sync.Mutex
	arrived sync.Cond
	queue   []*packet // those from head on wait
	head    int
	bytes   int
	closed  bool
	expired bool // a read deadline was set
	silent  bool
	kept    [][]byte // the last packets that were sent into the silence
}

// maxKept packets are sent once more after a silence: what the association
// sends at once when its timer expires, which is the oldest that the peer has
// not acknowledged, and some.
const maxKept = 32

func newLeg(send func([]byte) error) *leg {
	l := &leg{send: send}
	l.arrived.L = &l.mu
	return l
}

// deliver queues a copy of b, or drops it when the queue is full.
func (l *leg) deliver(b []byte) {
	if len(b) > maxPacket {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.bytes >= legBytes {
		return
	}
	p := packets.Get().(*packet)
	p.data = append(p.data[:0], b...)
	l.bytes += cap(p.data)
	if l.head > len(l.queue)/2 {
		n := copy(l.queue, l.queue[l.head:])
		clear(l.queue[n:])
		l.queue, l.head = l.queue[:n], 0
	}
	l.queue = append(l.queue, p)
	l.arrived.Signal()
}

// Read returns the next packet.
func (l *leg) Read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.head == len(l.queue) && !l.closed && !l.expired {
		l.arrived.Wait()
	}
	switch {
	case l.closed:
		return 0, net.ErrClosed
	case l.expired:
		return 0, os.ErrDeadlineExceeded
	}
	p := l.queue[l.head]
	l.queue[l.head] = nil
	l.head++
	n := copy(b, p.data)
	l.bytes -= cap(p.data)
	packets.Put(p)
	return n, nil
}

// Write sends one packet.
func (l *leg) Write(b []byte) (int, error) {
	l.mu.Lock()
	closed := l.closed
	if l.silent {
		if len(l.kept) == maxKept {
			l.kept = slices.Delete(l.kept, 0, 1)
		}
		l.kept = append(l.kept, bytes.Clone(b))
	}
	l.mu.Unlock()
	if closed {
		return 0, net.ErrClosed
	}
	if err := l.send(b); errors.Is(err, net.ErrClosed) {
		return 0, err
	}
	return len(b), nil // any other error is loss; SCTP sends again
}

// hush says that the peer is silent.
func (l *leg) hush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
}

// again says that it is heard again, and sends what it has missed.
func (l *leg) again() {
	l.mu.Lock()
	kept := l.kept
	l.silent, l.kept = false, nil
	l.mu.Unlock()
	for _, b := range kept {
		_ = l.send(b) // an error is loss
	}
}

// Close unblocks Read. It leaves the session below alone.
func (l *leg) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.queue, l.head, l.bytes = nil, 0, 0
	l.arrived.Broadcast()
	return nil
}

// SetReadDeadline with any time ends reading: the association sets one only
// to get its reader out.
func (l *leg) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expired = !t.IsZero()
	l.arrived.Broadcast()
	return nil
}

// SetWriteDeadline does nothing, because Write does not block.
func (l *leg) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is SetReadDeadline.
func (l *leg) SetDeadline(t time.Time) error { return l.SetReadDeadline(t) }

// LocalAddr implements net.Conn.
func (l *leg) LocalAddr() net.Addr { return Addr{} }

// RemoteAddr implements net.Conn.
func (l *leg) RemoteAddr() net.Addr { return Addr{} }
