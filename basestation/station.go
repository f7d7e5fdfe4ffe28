package basestation

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/bearer"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/relay"
	"github.com/latchkey-dev/latchkey/internal/secure"
)

// flushEvery bounds how much of "last seen" a crash loses.
const flushEvery = time.Minute

// A station is a Server while it serves.
type station struct {
	srv      *Server
	identity *latchkey.Identity
	registry Registry
	presence Presence
	bounds   atomic.Pointer[Limits] // without zero fields; see limits
	log      *slog.Logger
	events   *events
	started  time.Time
	paths    map[string]resource

	closeRegistry func() error

	sock  packet.Conn
	doors []net.Listener // TCP
	dtls  *secure.Server
	tls   *tls.Config
	web   *web
	relay *relay.Server

	bearer        atomic.Pointer[bearer.Validator]
	legs          *legs
	introductions *introductions
	attaches      *pace[latchkey.DeviceID] // of one device
	failures      *pace[netip.Prefix]      // refusals of the gate, for one prefix of sources
	streams       *crowd                   // TCP connections
	credit        credit                   // of those with grants for the relay
	count         counters

	draining atomic.Bool

	ctx context.Context // ends when serving has ended
	end context.CancelFunc

	mu   sync.Mutex // guards over
	over bool       // nothing is started any more
	work sync.WaitGroup
}

type counters struct {
	refused, introduced, notIntroduced atomic.Uint64
	waiting                            atomic.Int64
}

// newStation opens what srv names and checks what can be checked before a socket
// is bound. The caller must close it.
func (srv *Server) newStation() (*station, error) {
	if err := srv.checkPublicAddrs(); err != nil {
		return nil, err
	}
	log := srv.Logger
	if log == nil {
		log = slog.Default()
	}
	identity, err := srv.OpenIdentity()
	if err != nil {
		return nil, err
	}
	reg, closeRegistry, err := srv.openRegistry()
	if err != nil {
		return nil, err
	}
	s := &station{
		srv: srv, identity: identity, registry: reg, closeRegistry: closeRegistry, presence: srv.Presence,
		log: log, events: newEvents(log), started: time.Now(),
		attaches: newPace[latchkey.DeviceID](attachEvery, attachBurst),
		failures: newPace[netip.Prefix](failureEvery, failureBurst),
	}
	s.setLimits(srv.Limits)
	s.legs, s.introductions, s.streams = newLegs(s.limits), newIntroductions(s.limits), newCrowd(s.limits)
	if s.presence == nil {
		s.presence = newPresence()
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.paths = s.resources()
	if err := s.setIssuers(srv.Issuers); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// start runs f on a goroutine that serve waits for, unless the station is over.
func (s *station) start(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.work.Go(f)
	}
}

// serve runs until ctx ends and everything it started has ended.
func (s *station) serve(ctx context.Context) error {
	failed := make(chan error, 2+len(s.doors))
	var reading sync.WaitGroup
	reading.Go(func() {
		if err := s.sock.Serve(s.ctx, s.datagram); err != nil {
			failed <- fmt.Errorf("read UDP: %w", err)
		}
	})
	for _, door := range s.doors {
		reading.Go(func() { failed <- s.accept(door) })
	}
	s.start(func() { s.legs.run(s.ctx, s.care) })
	s.start(func() { s.sweep(s.ctx) })
	s.start(func() { s.keepSeen(s.ctx) })
	s.start(s.web.serve)
	if s.srv.Ready != nil {
		s.srv.Ready(s.info())
	}
	var err error
	select {
	case <-ctx.Done():
		s.drain()
	case err = <-failed:
	}
	s.stop()
	reading.Wait()
	return err
}

// keepSeen makes the registry keep what was seen, until ctx ends.
func (s *station) keepSeen(ctx context.Context) {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := s.registry.Flush(); err != nil {
				s.log.Warn("not kept when devices were seen", "op", "flush", "err", err)
			}
		}
	}
}

// stop ends everything and waits for it.
func (s *station) stop() {
	for _, door := range s.doors {
		_ = door.Close()
	}
	for _, l := range s.legs.all() {
		l.shut()
	}
	s.dtls.Close()
	s.relay.Close()
	s.web.close()
	s.streams.close()
	for _, in := range s.introductions.all() {
		s.introductions.end(in)
	}
	s.end()
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.work.Wait()
	_ = s.sock.Close()
}

// close frees what newStation and listen opened. It may be called after stop.
func (s *station) close() {
	s.end()
	if s.relay != nil {
		s.relay.Close()
	}
	for _, door := range s.doors {
		_ = door.Close()
	}
	if s.sock != nil {
		_ = s.sock.Close()
	}
	if err := s.closeRegistry(); err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Error("registry not closed well", "op", "close", "err", err)
	}
}

func (s *station) info() Info {
	return Info{
		Fingerprint: s.identity.Fingerprint(), Addrs: s.sock.LocalAddrs(), PublicAddrs: s.srv.PublicAddrs,
	}
}
