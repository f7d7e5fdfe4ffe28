package relay

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v5"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/budget"
)

// Config says how a Server reaches the network and what it allows.
type Config struct {
	// Send sends a datagram from the UDP port that feeds Deliver. It must not
	// block for long nor keep b. Required.
	Send func(b []byte, to netip.AddrPort) error
	// Proven reports whether the source is that of an authenticated peer, so
	// that its answers need no budget. Nil: nobody's.
	Proven func(src netip.AddrPort) bool
	// Budget is for answers to sources that are not proven. Nil: one of its own.
	Budget *budget.Budget
	Realm  string // of TURN credentials; "latchkey" if empty
	Limits Limits
	Log    *slog.Logger // nil: nothing is logged
}

// A Server answers STUN and TURN. All its methods may be called concurrently.
type Server struct {
	cfg    Config
	limits Limits
	budget *budget.Budget
	udp    *socket
	count  counters

	mu      sync.RWMutex
	closed  bool
	users   map[string]*leg // by user name
	names   map[netip.Addr]struct{}
	clients map[latchkey.Fingerprint]int // how many grants each has
	devices map[latchkey.Fingerprint]int
	streams map[*stream]struct{}
}

type counters struct {
	allocations, streams             atomic.Int64
	packets, bytes, dropped, refused atomic.Uint64
}

// Stats are counters since the start and, where noted, present numbers.
type Stats struct {
	Grants      int    // present
	Allocations int    // present; two for each session in use
	Streams     int    // TCP and TLS connections; present
	Packets     uint64 // relayed
	Bytes       uint64 // of payload relayed
	Dropped     uint64 // datagrams for which a queue was full or a rate exceeded
	Refused     uint64 // answers that the budget did not allow
}

// New starts a Server. It runs one goroutine until Close.
func New(cfg Config) (*Server, error) {
	if cfg.Send == nil {
		return nil, errors.New("relay: Config.Send is missing")
	}
	if cfg.Realm == "" {
		cfg.Realm = "latchkey"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Budget == nil {
		cfg.Budget = &budget.Budget{}
	}
	s := &Server{
		cfg:     cfg,
		limits:  cfg.Limits.orDefaults(),
		budget:  cfg.Budget,
		users:   map[string]*leg{},
		names:   map[netip.Addr]struct{}{},
		clients: map[latchkey.Fingerprint]int{},
		devices: map[latchkey.Fingerprint]int{},
		streams: map[*stream]struct{}{},
	}
	s.udp = newSocket(s, cfg.Send, udpQueue)
	if err := s.turn(s.udp); err != nil {
		return nil, err
	}
	return s, nil
}

// turn lets the TURN library serve a socket until the socket is closed.
func (s *Server) turn(k *socket) error {
	_, err := turn.NewServer(turn.ServerConfig{
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            k,
			RelayAddressGenerator: generator{k},
			PermissionHandler:     k.permitted,
		}},
		Realm:       s.cfg.Realm,
		AuthHandler: s.authenticate,
		QuotaHandler: func(user, _ string, _ net.Addr) bool {
			l := s.user(user)
			return l != nil && l.allocation.Load() == nil
		},
		EventHandler: turn.EventHandler{
			OnChannelCreated: func(_, _ net.Addr, _, user, _ string, _, peer net.Addr, number uint16) {
				s.user(user).bind(peer, number)
			},
			OnChannelDeleted: func(_, _ net.Addr, _, user, _ string, _, _ net.Addr, number uint16) {
				s.user(user).unbind(number)
			},
		},
		LoggerFactory: &logging.DefaultLoggerFactory{
			Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled,
		},
		AllocationLifetime:  allocationLifetime,
		StrictAddressFamily: true, // names are IPv4 addresses, whatever the client's own family
		InboundMTU:          maxMessage + 1,
	})
	return err
}

func (s *Server) user(name string) *leg {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.users[name]
}

// authenticate gives the library the key of a user name. The library checks the
// signature made with it.
func (s *Server) authenticate(r *turn.RequestAttributes) (string, []byte, bool) {
	l := s.user(r.Username)
	if l == nil || r.Realm != s.cfg.Realm {
		return "", nil, false
	}
	live := l.allocation.Load() != nil
	if !live && (r.Method != methodAllocate || time.Now().After(l.expires)) {
		return "", nil, false
	}
	return r.Username, l.key, true
}

// exempt reports whether the source needs no budget.
func (s *Server) exempt(k *socket, src netip.AddrPort) bool {
	return k.connected || k.allocation(src) != nil || s.cfg.Proven != nil && s.cfg.Proven(src)
}

// affords reports whether a request from src may be answered, and books it.
func (s *Server) affords(k *socket, src netip.AddrPort, received, answer int) bool {
	if s.exempt(k, src) || s.budget.Spend(src.Addr(), received, answer, time.Now()) {
		return true
	}
	s.count.refused.Add(1)
	return false
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	s.mu.RLock()
	grants := len(s.users) / 2
	s.mu.RUnlock()
	return Stats{
		Grants:      grants,
		Allocations: int(s.count.allocations.Load()),
		Streams:     int(s.count.streams.Load()),
		Packets:     s.count.packets.Load(),
		Bytes:       s.count.bytes.Load(),
		Dropped:     s.count.dropped.Load(),
		Refused:     s.count.refused.Load(),
	}
}

// Close ends all grants and connections. ServeConn returns soon after; Deliver
// and Grant do nothing from then on. Close is idempotent.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	pairs := map[*pair]struct{}{}
	for _, l := range s.users {
		pairs[l.pair] = struct{}{}
	}
	streams := s.streams
	s.streams = map[*stream]struct{}{}
	s.mu.Unlock()

	for p := range pairs {
		p.end("close")
	}
	for t := range streams {
		t.close()
	}
	_ = s.udp.Close()
}
