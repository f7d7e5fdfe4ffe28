package relay

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

var errNotTURN = errors.New("relay: neither STUN nor channel data")

// A stream is TURN over one accepted connection (RFC 8656 section 3.1).
type stream struct {
	conn net.Conn
	src  netip.AddrPort
	k    *socket

	mu      sync.Mutex
	waiting []byte        // to be written
	wake    chan struct{} // holds a token while something waits
	done    chan struct{}
	once    sync.Once
}

// ServeConn serves TURN and binding requests on an accepted TCP or TLS
// connection and returns after it has closed it: when the peer is gone, when it
// sent what is not TURN, when it has no allocation Limits.Auth after the start,
// when its allocation has ended, or after Close. How many connections there
// are, and whose, is the caller's to bound.
func (s *Server) ServeConn(conn net.Conn) {
	t := &stream{conn: conn, src: sourceOf(conn), wake: make(chan struct{}, 1), done: make(chan struct{})}
	t.k = newSocket(s, t.send, streamQueue)
	t.k.connected = true
	t.k.changed = func(live bool) {
		var end time.Time
		if !live {
			end = time.Now().Add(linger)
		}
		_ = conn.SetReadDeadline(end)
	}
	_ = conn.SetReadDeadline(time.Now().Add(s.limits.Auth))
	if !s.track(t) {
		_ = conn.Close()
		return
	}
	defer s.forget(t)

	var writer sync.WaitGroup
	writer.Go(t.write)
	if s.turn(t.k) == nil {
		_ = t.read() // whatever the reason, the connection is over
	}
	t.close()
	writer.Wait()
}

func (s *Server) track(t *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.streams[t] = struct{}{}
	s.count.streams.Add(1)
	return true
}

func (s *Server) forget(t *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, t)
	s.count.streams.Add(-1)
}

// sourceOf returns the peer's address as a mapped address wants it.
func sourceOf(conn net.Conn) netip.AddrPort {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		src := a.AddrPort()
		return netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}

// close ends the connection, its allocation and both of its loops.
func (t *stream) close() {
	t.once.Do(func() {
		close(t.done)
		_ = t.k.Close()
		if a := t.k.allocation(t.src); a != nil {
			_ = a.Close()
		}
		_ = t.conn.Close()
	})
}

// read takes messages and frames off the connection until it fails.
func (t *stream) read() error {
	r := bufio.NewReaderSize(t.conn, 8<<10)
	for {
		head, err := r.Peek(channelHeader)
		if err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint16(head[2:]))
		switch {
		case head[0] <= 3:
			n += stunHeader
		case head[0]&0xF0 == 0x40 && t.k.allocation(t.src) != nil:
			n = channelHeader + (n+3)&^3 // padded on a stream: RFC 8656 section 12.5
		default:
			return errNotTURN
		}
		if n > r.Size() { // more than we take; skip it
			if _, err := r.Discard(n); err != nil {
				return err
			}
			continue
		}
		b, err := r.Peek(n)
		if err != nil {
			return err
		}
		if err := t.take(b); err != nil {
			return err
		}
		_, _ = r.Discard(n) // it is buffered
	}
}

// take handles one message or frame. It may wait for the library, as reading a
// connection may.
func (t *stream) take(b []byte) error {
	if b[0] > 3 {
		t.k.channelData(b, t.src)
		return nil
	}
	if len(b) >= 8 && binary.BigEndian.Uint32(b[4:]) != magicCookie {
		return errNotTURN
	}
	d := t.k.message(b, t.src)
	if d == nil {
		return nil
	}
	select {
	case t.k.known <- d:
		return nil
	case <-t.done:
		d.free()
		return net.ErrClosed
	}
}

// send queues a message or a frame for the connection. One that finds no room
// is dropped.
func (t *stream) send(b []byte, _ netip.AddrPort) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting)+len(b)+3 > writeBuffer {
		return errFull
	}
	t.waiting = append(t.waiting, b...)
	for len(t.waiting)%4 != 0 { // all before it is padded too
		t.waiting = append(t.waiting, 0)
	}
	select {
	case t.wake <- struct{}{}:
	default: // the token is there
	}
	return nil
}

// write writes what waits, all of it at once.
func (t *stream) write() {
	var b []byte
	for {
		select {
		case <-t.wake:
		case <-t.done:
			return
		}
		t.mu.Lock()
		b, t.waiting = t.waiting, b[:0]
		t.mu.Unlock()
		_ = t.conn.SetWriteDeadline(time.Now().Add(writeWait))
		if _, err := t.conn.Write(b); err != nil {
			t.close()
			return
		}
	}
}
