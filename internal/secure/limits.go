package secure

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Limits bound what a Server keeps. A zero field is its default. A handshake
// in progress takes about 36 kB and four goroutines, so at most 9 MB in all; an
// idle session takes less than 17 kB and one.
//
// A ClientHello whose source is not yet proven gets state only while less than
// half of HalfOpen is in use, and less than half of PerPrefix by its own
// prefix. Otherwise it gets a HelloVerifyRequest whose cookie needs no memory.
// Whoever returns that cookie owns its address and is told to begin anew; then
// it is let in, and if the budget is used up, in place of the oldest handshake:
// of its own prefix, if that is full, else of all. So a flood of forged
// sources fills at most half of the budget and keeps nobody out, and a flood
// from real addresses displaces those of its own prefix first.
type Limits struct {
	HalfOpen  int           // handshakes in progress; 256
	PerPrefix int           // of them from one IPv4 address or one IPv6 /56; 32
	Sessions  int           // established; 1024. When reached, new sources are not answered
	Unproven  time.Duration // for a source to return its cookie; 5 s
}

const (
	defaultHalfOpen  = 256
	defaultPerPrefix = 32
	defaultSessions  = 1024
	defaultUnproven  = 5 * time.Second

	// yieldAfter is how long a handshake whose source is proven stands against
	// another ClientHello from its address.
	yieldAfter = 2 * time.Second
)

// Causes of a handshake's end that are not its own.
var (
	errClosed    = net.ErrClosed
	errYielded   = errors.New("secure: another ClientHello came from its source")
	errDisplaced = errors.New("secure: displaced by a newer handshake")
	errUnproven  = errors.New("secure: the source did not return its cookie")
)

func (s *Server) limits() Limits {
	l := s.Limits
	for _, f := range []struct {
		field    *int
		standard int
	}{{&l.HalfOpen, defaultHalfOpen}, {&l.PerPrefix, defaultPerPrefix}, {&l.Sessions, defaultSessions}} {
		if *f.field <= 0 {
			*f.field = f.standard
		}
	}
	if l.Unproven <= 0 {
		l.Unproven = defaultUnproven
	}
	return l
}

// A half is a handshake in progress.
type half struct {
	handshake *Handshake
	source    netip.AddrPort
	prefix    netip.Prefix
	random    [randomSize]byte // of its ClientHello
	started   time.Time
	cancel    context.CancelCauseFunc
	proven    bool // the source returned a cookie; guarded by Server.mu
}

// yields reports whether another ClientHello from the source takes its place.
func (h *half) yields(now time.Time) bool { return !h.proven || now.Sub(h.started) >= yieldAfter }

// prefixOf returns the network that shares one budget.
func prefixOf(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 56
	}
	p, _ := ip.Prefix(bits)
	return p
}

// admit decides whether a new source gets state, and makes room for it if it
// is proven. The caller holds mu.
func (s *Server) admit(source netip.AddrPort, now time.Time) bool {
	limits := s.limits()
	proven := s.cookies.knows(source, now)
	if !proven && len(s.halves) >= max(limits.HalfOpen/2, 1) {
		return false
	}
	prefix := prefixOf(source.Addr())
	var oldest *half // of the prefix
	count := 0
	for _, h := range s.halves {
		if h.prefix == prefix {
			if count++; oldest == nil {
				oldest = h
			}
		}
	}
	switch {
	case !proven:
		return count < max(limits.PerPrefix/2, 1)
	case count >= limits.PerPrefix:
		s.dropLocked(oldest, errDisplaced)
	case len(s.halves) >= limits.HalfOpen:
		s.dropLocked(s.halves[0], errDisplaced)
	}
	return true
}

// prove notes that the source of h returned its cookie.
func (s *Server) prove(h *half) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.proven = true
}

// expire ends h if its source has not been proven in time.
func (s *Server) expire(h *half) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !h.proven {
		s.dropLocked(h, errUnproven)
	}
}

// dropLocked takes h out of the table, ends it if there is a cause, and
// reports whether it was in the table. The caller holds mu.
func (s *Server) dropLocked(h *half, cause error) bool {
	if cause != nil {
		h.cancel(cause)
	}
	i := slices.Index(s.halves, h)
	if i < 0 {
		return false
	}
	s.halves = slices.Delete(s.halves, i, i+1)
	e := s.peers[h.source]
	e.half = nil
	if e.conn == nil {
		delete(s.peers, h.source)
	}
	return true
}
