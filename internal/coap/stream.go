package coap

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey"
)

const (
	helloTime   = 10 * time.Second // for the peer's first message
	writeTime   = 20 * time.Second // for the peer to take 16 KiB
	releaseTime = 5 * time.Second  // for answers that are due after a Release
	lastTime    = time.Second      // for the peer to take what is queued at the end
	neverRepeat = 24 * time.Hour   // what a stream took is not sent again
)

// A Stream is an Endpoint on a TCP or TLS connection (RFC 8323). The Endpoint
// keeps its message layer, and Stream stands in for what that layer would hear
// from a peer: what the connection took counts as acknowledged, a ping becomes
// a Ping and its Pong the answer, and incoming messages get ids.
//
// Nothing that a Stream sends blocks. Frames queue, at most 1 MiB beside what is being written; a peer that
// does not take 16 KiB in 20 s, or makes the queue overflow, loses the
// connection. While half of the queue waits nothing is read, so that a peer
// which asks faster than it listens has to wait.
type Stream struct {
	*Endpoint
	conn     net.Conn
	heard    atomic.Int64  // nanoseconds since the epoch
	wake     chan struct{} // has an element when there is something for the writer
	space    chan struct{} // has an element when the queue was taken
	stopped  chan struct{} // closed when the writer has ended
	deaf     chan struct{} // closed when nothing is read any more
	greeted  bool          // the CSM came; only Serve touches it
	released bool          // a Release came; only Serve touches it

	mu      sync.Mutex // guards what follows; never held while the Endpoint is called
	largest int        // message that the peer takes, bytes
	out     []byte     // frames
	acks    []uint16   // ids of confirmable messages in out
	serving bool
	ending  bool
	cause   error
}

// NewStream makes an endpoint on conn, whose handshake is over and which it
// owns from now on. Config.Send and Config.AckTimeout are not used. The
// stream carries nothing until Serve runs. As for any Endpoint, call Tick about
// ten times a second.
func NewStream(conn net.Conn, cfg Config) *Stream {
	s := &Stream{
		conn:    conn,
		wake:    make(chan struct{}, 1),
		space:   make(chan struct{}, 1),
		stopped: make(chan struct{}),
		deaf:    make(chan struct{}),
		largest: baseMessageSize,
	}
	cfg.Send, cfg.AckTimeout = s.Send, neverRepeat
	s.Endpoint = New(cfg)
	s.ordered = true
	s.heard.Store(time.Now().UnixNano())
	_ = s.enqueue(hello()) // there is room
	return s
}

// LastHeard returns when the last message came, at first when s was made.
func (s *Stream) LastHeard() time.Time { return time.Unix(0, s.heard.Load()) }

// Serve carries messages until the connection ends, closes it, and returns
// after the last goroutine; a Handler must heed its context. It is called once
// and returns the cause: nil after Close, io.EOF when the peer ended the
// connection without a word, ErrReleased or ErrAborted when it said so,
// latchkey.ErrProtocol or latchkey.ErrTooLarge when it broke the rules, else
// the connection's error.
func (s *Stream) Serve() error {
	s.mu.Lock()
	s.serving = true
	ended := s.ending
	s.mu.Unlock()
	var group sync.WaitGroup
	if !ended {
		group.Go(s.write)
		err := s.read()
		close(s.deaf)
		if s.released {
			err = ErrReleased
		}
		s.finish(err)
		group.Wait()
	}
	s.Endpoint.Close()
	s.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.cause, net.ErrClosed) {
		return nil
	}
	return s.cause
}

// Close ends everything under way, as Endpoint.Close does, and the connection:
// what is queued and a Release go out, and the peer may close too, each for at
// most a second. It does not wait; Serve returns afterwards.
func (s *Stream) Close() {
	_ = s.enqueue(signal(signalRelease, token{}, nil, "")) // fails only if it ends already
	s.finish(net.ErrClosed)
	s.Endpoint.Close()
}

// finish lets the writer send what is queued and end. The first cause counts.
func (s *Stream) finish(cause error) {
	var o *offence
	if errors.As(cause, &o) {
		_ = s.enqueue(o.lastWords()) // fails only if it ends already
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return
	}
	s.ending, s.cause = true, cause
	if !s.serving {
		_ = s.conn.Close() // nothing was sent yet that could get lost
		return
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(lastTime)) // fails only on a closed connection
	s.notify(s.wake)
}

// read takes messages until the connection ends.
func (s *Stream) read() error {
	r := frameReader{from: bufio.NewReader(s.conn)}
	if err := s.conn.SetReadDeadline(time.Now().Add(helloTime)); err != nil {
		return err
	}
	for id := uint16(0); ; id++ {
		s.rest()
		b, err := r.next(id)
		switch {
		case errors.Is(err, latchkey.ErrProtocol):
			return violation("token length is reserved")
		case errors.Is(err, latchkey.ErrTooLarge):
			return &offence{error: err}
		case err != nil:
			return err
		}
		s.heard.Store(time.Now().UnixNano())
		if s.greeted {
			err = s.take(b)
		} else {
			err = s.greet(b)
		}
		if err != nil {
			return err
		}
	}
}

// greet takes the first message, which must be a CSM (RFC 8323 section 3.3).
func (s *Stream) greet(b []byte) error {
	if Code(b[1]) != signalCSM {
		return violation("the first message is no CSM")
	}
	s.greeted = true
	if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return s.take(b)
}

// take passes on one message. What breaks the syntax ends the connection (RFC
// 8323 section 5.6).
func (s *Stream) take(b []byte) error {
	code := Code(b[1])
	if code == empty {
		return nil // a keep-alive (RFC 8323 section 5.4)
	}
	m := frames.Get().(*frame)
	defer m.release()
	err := m.parse(b)
	switch {
	case code.Class() == 7 && err != nil, errors.Is(err, errMalformed):
		return violation("message with a syntax error")
	case code.Class() == 7:
		return s.signalled(&m.message)
	}
	s.Deliver(b)
	return nil
}

// rest waits while the peer has too much to take in before it may say more.
func (s *Stream) rest() {
	for {
		s.mu.Lock()
		calm := len(s.out) <= maxQueued/2
		s.mu.Unlock()
		if calm {
			return
		}
		select {
		case <-s.space:
		case <-s.stopped:
			return
		}
	}
}

func (s *Stream) notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
