package basestation

import (
	"time"

	"github.com/latchkey-dev/latchkey/internal/bearer"
)

// Limits bounds what peers can make a basestation hold. A zero field is its
// default.
type Limits struct {
	Sessions  int // peers connected at once, by UDP; default 20,000, at most 100,000. A quarter as many may be there, by UDP or TCP, whose keys are no device's
	Streams   int // TCP connections at once, of which a quarter may be such as StreamsPerSource counts; default 10,000
	PerSource int // peers that are neither device nor introduced to one, from one IPv4 address or IPv6 /56; default 64

	StreamsPerSource int // TCP connections from one IPv4 address or IPv6 /56 on which no device attached, no client was introduced and nothing is relayed; default 256
	Handshakes       int // DTLS handshakes in progress; default 256
	PerPrefix        int // of them from one IPv4 address or IPv6 /56; default 32

	Introductions int           // at once; default 50,000
	PerClient     int           // of them, by one client's key; default 32
	PerDevice     int           // of them, with one device; default 512
	WaitMax       time.Duration // for a device to attach; default 10 min
	Drain         time.Duration // after ListenAndServe was told to stop, for relayed sessions to move; default 10 s

	Relay RelayLimits
}

const maxSessions = 100_000

func (l Limits) withDefaults() Limits {
	set(&l.Sessions, 20_000)
	l.Sessions = min(l.Sessions, maxSessions)
	set(&l.Streams, 10_000)
	set(&l.PerSource, 64)
	set(&l.StreamsPerSource, 256)
	set(&l.Introductions, 50_000)
	set(&l.PerClient, 32)
	set(&l.PerDevice, 512)
	set(&l.WaitMax, 10*time.Minute)
	set(&l.Drain, 10*time.Second)
	return l
}

// set gives a field that is not positive its default.
func set[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

func (s *station) limits() Limits { return *s.bounds.Load() }

func (s *station) setLimits(l Limits) {
	l = l.withDefaults()
	s.bounds.Store(&l)
}

func (s *station) setIssuers(list []Issuer) error {
	options := s.srv.bearer
	options.Log, options.Before = s.log, s.bearer.Load()
	v, err := bearer.New(list, options)
	if err != nil {
		return err
	}
	s.bearer.Store(v)
	return nil
}

// SetLimits replaces the limits; zero fields are defaults. What is there already
// stays, however much it is. Sessions, Handshakes, PerPrefix and Relay take effect
// when the basestation serves again.
func (srv *Server) SetLimits(l Limits) error {
	s, err := srv.serving()
	if err == nil {
		s.setLimits(l)
	}
	return err
}

// SetIssuers replaces those whose JWTs open the gate. Introductions that their
// tokens began go on, and so do the keys of an issuer that stays as it is.
func (srv *Server) SetIssuers(list []Issuer) error {
	s, err := srv.serving()
	if err != nil {
		return err
	}
	return s.setIssuers(list)
}
