package packet

import (
	"net/netip"
	"sync"
)

// First bytes of DTLS records (RFC 7983).
const (
	dtlsFirst = 20
	dtlsLast  = 63
)

// A Switch gives the DTLS datagrams of certain sources to those who registered
// for them, so that several can share one socket. STUN from the same sources is
// for others. The zero Switch is ready.
type Switch struct {
	mu      sync.RWMutex
	sources map[netip.AddrPort]*registration
}

type registration struct{ handle func(b []byte, m Meta) }

// Register makes handle take what comes from source, in place of whoever took
// it before, and returns how to end that. handle is called as by Conn.Serve.
func (s *Switch) Register(source netip.AddrPort, handle func(b []byte, m Meta)) (unregister func()) {
	r := &registration{handle}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sources == nil {
		s.sources = make(map[netip.AddrPort]*registration)
	}
	s.sources[source] = r
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.sources[source] == r {
			delete(s.sources, source)
		}
	}
}

// Deliver hands over a datagram and reports whether anybody has registered for
// its source.
func (s *Switch) Deliver(b []byte, m Meta) bool {
	if len(b) == 0 || b[0] < dtlsFirst || b[0] > dtlsLast {
		return false
	}
	s.mu.RLock()
	r := s.sources[m.Src]
	s.mu.RUnlock()
	if r == nil {
		return false
	}
	r.handle(b, m)
	return true
}
