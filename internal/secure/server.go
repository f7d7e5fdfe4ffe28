package secure

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

// A Server accepts associations on a socket and tells them apart by source
// address. Its fields must not change after the first Deliver.
type Server struct {
	Config Config
	// Send sends a datagram; see packet.Conn. Required.
	Send func(b []byte, to netip.AddrPort, from netip.Addr) error
	// Accept is called with each new connection, on a goroutine of its own.
	// When it returns the connection is closed and forgotten. Required.
	Accept func(*Conn)
	Limits Limits

	mu      sync.RWMutex
	peers   map[netip.AddrPort]*entry
	halves  []*half // of peers, oldest first
	conns   int     // of peers
	cookies *cookies
	closed  bool
	work    sync.WaitGroup // a goroutine for each handshake, then its connection
}

// An entry is what a Server knows of one source address.
type entry struct {
	conn   *Conn            // the session; nil if there is none
	random [randomSize]byte // of the ClientHello that began conn
	half   *half            // the handshake in progress; nil if there is none
}

// Deliver takes a datagram that arrived at the socket. It copies what it keeps
// and never blocks. From a source that has no association, anything but a
// plausible ClientHello is dropped without an answer.
func (s *Server) Deliver(b []byte, m packet.Meta) {
	var conn *Conn
	var half *half
	s.mu.RLock()
	if e := s.peers[m.Src]; e != nil {
		conn, half = e.conn, e.half
	}
	s.mu.RUnlock()
	if len(b) == 0 || (conn == nil && half == nil || b[0] == typeHandshake) && s.greet(b, m) {
		return
	}
	if half != nil {
		half.handshake.Deliver(b, m)
	}
	if conn != nil && conn.Deliver(b, m) {
		if f := conn.heed.Load(); f != nil {
			(*f)()
		}
	}
}

// greet deals with a ClientHello that does not belong to a handshake in
// progress. It reports whether the datagram needs no more attention.
func (s *Server) greet(b []byte, m packet.Meta) bool {
	hello, ok := parseClientHello(b)
	if !ok {
		return false
	}
	answer, done := s.welcome(hello, b, m)
	if answer != nil {
		_ = s.Send(answer, m.Src, m.Dst) // lost like any other datagram
	}
	return done
}

// welcome decides on a ClientHello. It returns what to answer at once, if
// anything, and whether the datagram is dealt with.
func (s *Server) welcome(hello clientHello, b []byte, m packet.Meta) (answer []byte, done bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, true
	}
	if s.peers == nil {
		s.peers, s.cookies = make(map[netip.AddrPort]*entry), newCookies()
	}
	e := s.peers[m.Src]
	switch {
	case hello.message != 0 && s.cookies.redeem(m.Src, hello, now):
		return restartRequest(hello), true
	case e != nil && e.half != nil && e.half.random == hello.random:
		return nil, false // its next message, or a repetition
	case hello.message != 0:
		return nil, true
	}
	if e != nil {
		if e.conn != nil && e.random == hello.random || e.half != nil && !e.half.yields(now) {
			return nil, true
		}
	} else if s.conns >= s.limits().Sessions {
		return nil, true
	}
	if !s.admit(m.Src, now) {
		cookie := s.cookies.make(m.Src, hello.random, slotOf(now))
		return helloVerifyRequest(hello, cookie), true
	}
	s.begin(hello, m, now).handshake.Deliver(b, m)
	return nil, true
}

// begin starts a handshake. The caller holds mu.
func (s *Server) begin(hello clientHello, m packet.Meta, now time.Time) *half {
	e := s.peers[m.Src]
	if e == nil {
		e = &entry{}
	} else if e.half != nil {
		s.dropLocked(e.half, errYielded)
	}
	s.peers[m.Src] = e
	h := &half{source: m.Src, prefix: prefixOf(m.Src.Addr()), random: hello.random, started: now}
	h.handshake = NewServer(s.Config, func(b []byte) error { return s.Send(b, m.Src, m.Dst) })
	h.handshake.link.Load().onProven = func() { s.prove(h) }
	ctx, cancel := context.WithCancelCause(context.Background())
	h.cancel = cancel
	e.half = h
	s.halves = append(s.halves, h)
	s.work.Go(func() { // ends with the handshake, or with the connection it makes
		defer cancel(nil)
		s.run(ctx, h)
	})
	return h
}

// run performs a handshake and serves the connection that comes of it.
func (s *Server) run(ctx context.Context, h *half) {
	expiry := time.AfterFunc(s.limits().Unproven, func() { s.expire(h) })
	conn, err := h.handshake.Run(ctx)
	expiry.Stop()
	if err != nil {
		s.Config.withDefaults(false).Log.Debug("handshake failed", "op", "accept", "source", h.source, "err", err)
	}
	old, ok := s.settle(h, conn)
	if old != nil {
		old.abort(ErrReplaced)
	}
	if conn == nil {
		return
	}
	if ok {
		s.Accept(conn)
	}
	_ = conn.Close()
	s.forget(h.source, conn)
}

// settle puts the outcome of a handshake into the table. It returns the
// connection that is replaced and whether the new one is in place.
func (s *Server) settle(h *half, conn *Conn) (old *Conn, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := s.dropLocked(h, nil)
	if conn == nil || s.closed || !current {
		return nil, false
	}
	e := s.peers[h.source]
	if e == nil {
		if s.conns >= s.limits().Sessions {
			return nil, false
		}
		e = &entry{}
		s.peers[h.source] = e
		s.conns++
	}
	old = e.conn
	e.conn, e.random = conn, h.random
	return old, true
}

// forget takes a connection that ended out of the table, if it is still there.
func (s *Server) forget(source netip.AddrPort, conn *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.peers[source]
	if e == nil || e.conn != conn {
		return
	}
	e.conn = nil
	s.conns--
	if e.half == nil {
		delete(s.peers, source)
	}
}

// Close ends all handshakes and connections and returns after their last
// goroutine, Accept included. It may be called again.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	var conns []*Conn
	for _, e := range s.peers {
		if e.half != nil {
			e.half.cancel(errClosed)
		}
		if e.conn != nil {
			conns = append(conns, e.conn)
		}
	}
	s.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	s.work.Wait()
}
