package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/ice/v4"

	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// A Config describes one introduction. Receive, Up and Down are required. The
// functions may be called before New returns. None may block, or call a method
// of the route.
type Config struct {
	Controlling bool // exactly one of the two sides is; the client
	// Loopback has loopback addresses used too, for peers on one machine. The
	// controlled side does not believe those that the peer names, behind which
	// may be anything of ours: it waits to be asked from one, as only a program
	// of this machine can.
	Loopback bool
	// Servers are STUN servers; four are asked.
	Servers []netip.AddrPort
	// Relay is what the basestation granted; nil: none yet, see UseRelay.
	Relay *signal.Grant
	// DialRelay opens a connection to the TURN server: a UDP socket of its
	// own, or turn.NewSTUNConn around a stream. It returns the server's
	// address too. nil: there is no relay.
	DialRelay func(ctx context.Context) (net.PacketConn, net.Addr, error)
	// Candidate is told each address that a STUN server found, as an RFC 8839
	// candidate-attribute, and at the end "" with last. nil: nobody wants to
	// know.
	Candidate func(c string, last bool)
	// Receive takes each DTLS record of the peer that came by the path p,
	// which may be one that is not up yet. The bytes are valid during the call
	// only. It returns false if it cannot use b, which is then offered to
	// other routes to the same address, so it must not change b. It is called
	// from several goroutines at once.
	Receive func(b []byte, m packet.Meta, p *Path) bool
	// Up and Down are told that a path works or no longer works, one at a
	// time. A path that is up moves to a better address without a word. Each
	// Up is followed by one Down, at the latest during Close.
	Up, Down func(p *Path)
	Log      *slog.Logger // nil: slog.Default()
}

// A Route looks for ways to one peer. It costs four goroutines and some 40 KiB
// with one host address, one more for each further address, and five and some
// 50 KiB for the relay leg. Its methods are safe for concurrent use.
type Route struct {
	hub        *Hub
	cfg        Config
	agent      *ice.Agent
	ufrag, pwd string
	hosts      []netip.AddrPort
	candidates []string
	filter     filter
	secrets    secrets // ICE passwords

	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup
	once   sync.Once

	reports   sync.Mutex // one Up or Down at a time, in order
	direct    *Path
	relay     *Path
	connected bool // of the ICE agent
	selected  pair

	mu        sync.Mutex
	closed    bool
	relaying  bool
	relayErr  error
	remotePwd string
	conns     []*candidateConn
	remotes   []netip.AddrPort             // candidates of the peer
	sources   []netip.AddrPort             // where authentic checks of the peer came from
	checked   map[netip.AddrPort]time.Time // what answered a check of ours, and when last
	lapsed    netip.AddrPort               // of these, the one that no longer does
	pending   []transaction
	paces     map[pair]*pace
}

// New makes a route and begins to look for our own addresses, and for the relay
// if there is a grant. Checks begin with Start.
func (h *Hub) New(cfg Config) (*Route, error) {
	if cfg.Receive == nil || cfg.Up == nil || cfg.Down == nil {
		return nil, errors.New("route: Config lacks a function")
	}
	if cfg.Log == nil {
		cfg.Log = h.cfg.Log
	}
	r := &Route{
		hub: h, cfg: cfg,
		filter: filter{loopback: cfg.Loopback, own: h.cfg.Addrs()},
		direct: &Path{kind: Direct},
		relay:  &Path{kind: Relay},
		paces:  make(map[pair]*pace), checked: make(map[netip.AddrPort]time.Time),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	for _, a := range r.filter.own {
		if c, err := hostCandidate(a); err == nil && r.filter.local(a) && len(r.hosts) < maxHosts {
			r.hosts, r.candidates = append(r.hosts, a), append(r.candidates, c)
		}
	}
	if err := r.newAgent(); err != nil {
		r.cancel()
		return nil, err
	}
	h.register(r)
	if err := r.gather(); err != nil {
		r.Close()
		return nil, fmt.Errorf("route: %w", err)
	}
	r.wait.Go(func() { r.announce(r.ctx) })
	if cfg.Relay != nil {
		if err := r.UseRelay(cfg.Relay); err != nil {
			r.Close()
			return nil, err
		}
	}
	return r, nil
}

// Credentials returns the username fragment and the password that the peer
// needs.
func (r *Route) Credentials() (ufrag, pwd string) { return r.ufrag, r.pwd }

// Candidates returns our host addresses as RFC 8839 candidate-attributes. They
// are known at once, and Config.Candidate is not told them.
func (r *Route) Candidates() []string { return slices.Clone(r.candidates) }

// Start begins the checks with the credentials of the peer. It may be called
// once.
func (r *Route) Start(remoteUfrag, remotePwd string) error {
	r.mu.Lock()
	again := r.remotePwd != ""
	if !again {
		r.remotePwd = remotePwd
	}
	r.mu.Unlock()
	if again {
		return errors.New("route: it has been started")
	}
	r.secrets.add(remotePwd)
	start := r.agent.StartAccept
	if r.cfg.Controlling {
		start = r.agent.StartDial
	}
	if _, err := start(remoteUfrag, remotePwd); err != nil {
		return fmt.Errorf("route: %w", err)
	}
	return nil
}

// AddCandidate adds an address of the peer, before or after Start. An empty one
// says that there are no more. An address that no peer can have and more than
// 32 are errors, after which the route goes on.
func (r *Route) AddCandidate(s string) error {
	if s == "" {
		return nil
	}
	f := r.filter
	f.loopback = f.loopback && r.cfg.Controlling
	c, a, err := parseCandidate(s, f)
	if err != nil {
		return err
	}
	r.mu.Lock()
	known, full := slices.Contains(r.remotes, a), len(r.remotes) >= maxRemotes
	if !known && !full {
		r.remotes = append(r.remotes, a)
	}
	r.mu.Unlock()
	if known {
		return nil
	}
	if full {
		return fmt.Errorf("route: the peer has more than %d candidates", maxRemotes)
	}
	return r.agent.AddRemoteCandidate(c)
}

// UseRelay starts the relay leg, if the grant came after New. There is one leg.
func (r *Route) UseRelay(g *signal.Grant) error {
	if r.cfg.DialRelay == nil {
		return errors.New("route: no way to the relay")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return net.ErrClosed
	case r.relaying:
		return errors.New("route: it has a relay")
	}
	r.relaying = true
	leg := &relayLeg{
		grant: *g, dial: r.cfg.DialRelay, net: r.hub.net, log: r.cfg.Log,
		receive: func(b []byte) { r.cfg.Receive(b, packet.Meta{Src: g.Peer}, r.relay) },
		state: func(send func([]byte) error) {
			r.reports.Lock()
			defer r.reports.Unlock()
			if send == nil {
				r.set(r.relay, nil)
			} else {
				r.set(r.relay, &link{send, g.Peer})
			}
		},
		lost: func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.relayErr = err
		},
	}
	r.wait.Go(func() { leg.run(r.ctx) })
	return nil
}

// RelayErr returns why the relay last failed; nil if it did not.
func (r *Route) RelayErr() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.relayErr
}

// report changes what the agent said last and tells the owner what follows.
func (r *Route) report(change func()) {
	r.reports.Lock()
	defer r.reports.Unlock()
	change()
	r.mu.Lock()
	lapsed := r.lapsed
	r.mu.Unlock()
	if !r.connected || !r.selected.remote.IsValid() || r.selected.remote == lapsed || r.ctx.Err() != nil {
		r.set(r.direct, nil)
		return
	}
	from, to := r.selected.local.Addr(), r.selected.remote
	r.set(r.direct, &link{func(b []byte) error { return r.hub.cfg.Send(b, to, from) }, to})
}

// set changes a path. Its caller holds reports.
func (r *Route) set(p *Path, l *link) {
	old := p.link.Swap(l)
	switch {
	case old == nil && l != nil:
		r.cfg.Log.Debug("path up", "op", p.kind, "peer", l.remote)
		r.cfg.Up(p)
	case old != nil && l == nil:
		r.cfg.Log.Debug("path down", "op", p.kind, "peer", old.remote)
		r.cfg.Down(p)
	}
}

// Close ends the route. It returns after the last goroutine and the last Up or
// Down; a Receive that has begun may outlast it. It may be called again.
func (r *Route) Close() {
	r.once.Do(func() {
		r.cancel()
		r.mu.Lock()
		r.closed = true
		checked := slices.Collect(maps.Keys(r.checked))
		r.mu.Unlock()
		r.hub.unregister(r, checked)
		if err := r.agent.GracefulClose(); err != nil {
			r.cfg.Log.Debug("route close", "op", "ice", "err", err)
		}
		r.wait.Wait()
		r.mu.Lock()
		pending := r.pending // the agent, which adds to it, has ended
		r.mu.Unlock()
		r.hub.forget(pending...)
		r.report(func() {})
	})
}
