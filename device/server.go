package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/audit"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/roster"
	"github.com/latchkey-dev/latchkey/internal/route"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/session"
	"github.com/latchkey-dev/latchkey/pairing"
)

// errShutdown is the cause of sessions that end because the device stops.
var errShutdown = fmt.Errorf("device: %w", latchkey.ErrShutdown)

// lanHops is the hop limit of our datagrams. A receiver that sees it unchanged
// knows that no router forwarded them (RFC 5082).
const lanHops = 255

// A server is a Device while it serves.
type server struct {
	dev      *Device
	id       latchkey.DeviceID
	identity *latchkey.Identity
	access   *acl.Store // nil when a hook decides alone
	ownStore bool
	bounds   atomic.Pointer[Limits] // without zero fields; see limits
	log      *slog.Logger

	door     *door
	clock    *clock
	tell     func(acl.Event) // takes what event is given
	auditLog *audit.Log      // nil if somebody else is told
	logins   atomic.Pointer[logins]
	voided   voidList
	pairing  *pairing.Host // nil without a store
	quota    roster.Quota
	services atomic.Pointer[serviceTable]
	builtins table
	routes   *routeTable
	watchers watchers
	strikes  strikes
	announce announcer

	sock     packet.Conn
	loopback bool           // the socket is bound to a loopback address
	legs     packet.Switch  // datagrams of the basestation
	hub      *route.Hub     // paths of introduced clients
	dtls     *secure.Server // clients on the device's own network
	attach   *attachment
	sessions session.Set
	started  time.Time

	ctx  context.Context // ends when the device stops
	work work            // introductions under way

	mu       sync.Mutex // guards what follows
	peers    map[*peer]struct{}
	stopping bool // no session is let in any more
}

// newServer opens what d names and checks what can be checked before a socket
// is bound. On success the caller must close the server.
func (d *Device) newServer() (*server, error) {
	if d.Authorize == nil && d.Access == nil && d.Dir == "" {
		return nil, errors.New("device: nothing decides who may do what: set Dir, Access or Authorize")
	}
	access, err := d.openAccess()
	if err != nil {
		return nil, err
	}
	s := &server{
		dev: d, access: access, ownStore: access != d.Access,
		log: d.logger(), peers: make(map[*peer]struct{}), builtins: newTable(resources()),
	}
	s.setLimits(d.Limits)
	s.routes = newRouteTable(s.limits(), s.log)
	if err := s.configure(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) configure() error {
	var err error
	if s.identity, err = s.dev.OpenIdentity(); err != nil {
		return err
	}
	if s.id = s.dev.DeviceID(s.identity.Fingerprint()); !s.id.Valid() {
		return fmt.Errorf("device: %q is not a device id", s.id)
	}
	hook := s.dev.Authorize
	if hook == nil {
		hook = s.access.Authorize
	}
	s.door = newDoor(hook, s.limits, s.log)
	s.door.prompt = s.dev.Authorize == nil
	s.clock = newClock(s.access, s.dev.wall, s.clockChanged)
	if err := s.openAudit(); err != nil {
		return err
	}
	if err := s.setTokens(s.dev.Tokens); err != nil {
		return err
	}
	s.announce.name = s.dev.Name
	s.watchers.limits = s.limits
	base, err := newBaseConfig(s.dev.Basestations, s.dev.BasestationKey)
	if err != nil {
		return err
	}
	s.attach = newAttachment(s, base)
	if err := s.setServices(s.dev.Services); err != nil {
		return err
	}
	if err := s.routes.set(s.dev.Routes); err != nil {
		return err
	}
	if s.access == nil {
		if s.dev.Pairing != 0 {
			return errors.New("device: pairing needs Dir or Access to store keys in")
		}
		return nil
	}
	s.pairing = pairing.NewHost(pairing.HostConfig{
		Store: s.access, Open: s.dev.Pairing, Device: s.id, Key: s.identity.Fingerprint(), Event: s.event,
	})
	return nil
}

// limits returns the limits in force.
func (s *server) limits() Limits { return *s.bounds.Load() }

func (s *server) setLimits(l Limits) {
	l = l.withDefaults()
	s.bounds.Store(&l)
}

func (s *server) close() {
	s.routes.close()
	if s.sock != nil {
		_ = s.sock.Close() // Serve has read its last datagram
	}
	s.closeAudit()
	if s.ownStore {
		if err := s.access.Close(); err != nil {
			s.log.Error("close the access store", "err", err)
		}
	}
}

func (s *server) listen() error {
	addr := s.dev.Addr
	if addr == "" {
		addr = DefaultAddr
	}
	sock, err := packet.Listen(addr, packet.Config{HopLimit: lanHops})
	if err != nil {
		return fmt.Errorf("listen on UDP %s: %w", addr, err)
	}
	s.sock = sock
	s.loopback = true
	for _, a := range sock.LocalAddrs() {
		s.loopback = s.loopback && a.Addr().IsLoopback()
	}
	s.dtls = &secure.Server{
		Config: secure.Config{Identity: s.identity, Verify: s.verify, Log: s.log},
		Send:   sock.Send,
		Accept: s.accept,
	}
	s.hub = route.NewHub(route.HubConfig{Send: sock.Send, Addrs: s.candidates, Log: s.log})
	return nil
}

// candidates are the addresses at which others may reach the socket, on the
// networks that this machine is attached to, and on itself.
func (s *server) candidates() []netip.AddrPort { return packet.Expand(s.sock.LocalAddrs(), true) }

// deliver takes a datagram from the socket: of the basestation, of an
// introduced client, or of somebody on the network.
func (s *server) deliver(b []byte, m packet.Meta) {
	if !s.legs.Deliver(b, m) && !s.hub.Deliver(b, m) {
		s.dtls.Deliver(b, m)
	}
}

// serve runs until ctx ends and everything it started has ended.
func (s *server) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.started, s.ctx = time.Now(), ctx
	var work sync.WaitGroup
	reading := make(chan error, 1)
	// The socket is read until the goodbyes are said: sessions need it to end well.
	readCtx, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReading()
	go func() { reading <- s.sock.Serve(readCtx, s.deliver) }() // ends with readCtx
	work.Go(func() { s.sessions.Run(readCtx) })
	work.Go(func() { s.watchAccess(ctx) })
	work.Go(func() { s.announceUntil(ctx) })
	work.Go(func() { s.keepClock(ctx) })
	work.Go(func() { s.attach.run(ctx) })
	s.event(acl.Event{Kind: acl.EventStart, Outcome: acl.OutcomeOK, Detail: version()})
	s.clockStarts()
	if s.dev.Ready != nil {
		s.dev.Ready(s.info())
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-reading: // the socket failed
		cancel()
	}
	s.endSessions(errShutdown)
	s.work.wait()
	s.dtls.Close()
	stopReading()
	if err == nil {
		err = <-reading
	}
	work.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	s.event(acl.Event{Kind: acl.EventStop, Outcome: outcome(err), Code: latchkey.CodeOf(err)})
	return err
}

func (s *server) info() Info {
	base := s.attach.config.load()
	return Info{
		ID: s.id, Name: s.name(), Fingerprint: s.identity.Fingerprint(), Addrs: s.sock.LocalAddrs(),
		PairingURL: &latchkey.PairingURL{
			ID: s.id, Key: s.identity.Fingerprint(), Addrs: reachable(s.sock.LocalAddrs()),
			Basestations: base.addrs, BasestationKey: base.key,
		},
	}
}
