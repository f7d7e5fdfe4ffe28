package rendezvous

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/route"
	"github.com/latchkey-dev/latchkey/internal/signal"
	"github.com/latchkey-dev/latchkey/internal/uplink"
)

// sendTimeout bounds a message to the basestation.
const sendTimeout = 10 * time.Second

// A Config says what an introduction is about. All fields but Relay, Servers,
// Only and Log are required.
type Config struct {
	Identity *latchkey.Identity
	Device   latchkey.DeviceID
	Role     byte // signal.RoleClient or signal.RoleDevice
	Session  signal.SessionID

	Hub     *route.Hub
	Uplink  *uplink.Uplink
	Carrier *route.Carrier
	Relay   *signal.Grant    // nil: none yet, see UseRelay
	Servers []netip.AddrPort // STUN
	Only    route.Kind       // use paths of this kind alone; "": any
	// Deliver takes a datagram of the peer. taken is false if it is for
	// somebody else at the same address; authentic says that the peer's keys
	// vouch for it.
	Deliver func(b []byte, m packet.Meta) (taken, authentic bool)
	Log     *slog.Logger // nil: slog.Default()
}

// A Meeting is one introduction under way. Its methods may be called
// concurrently.
type Meeting struct {
	cfg   Config
	route *route.Route

	ctx    context.Context
	cancel context.CancelFunc
	up     chan struct{} // closed when the first path works
	heard  chan struct{} // closed when the peer was first heard

	mu     sync.Mutex // guards what follows
	begun  bool
	early  []string // candidates that came before the offer
	known  bool     // to the basestation
	untold []func() // what it is told then
	closed bool
	first  sync.Once
	voice  sync.Once
	work   sync.WaitGroup
}

// New makes a meeting, which begins to look for our own addresses. The caller
// must close it.
func New(cfg Config) (*Meeting, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	m := &Meeting{cfg: cfg, up: make(chan struct{}), heard: make(chan struct{})}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	var err error
	m.route, err = cfg.Hub.New(route.Config{
		Controlling: cfg.Role == signal.RoleClient,
		Loopback:    cfg.Uplink.Remote().Addr().IsLoopback(), // the basestation is here, or a tunnel to it
		Servers:     cfg.Servers,
		Relay:       cfg.Relay,
		DialRelay:   cfg.Uplink.DialRelay,
		Candidate:   m.found,
		Receive:     m.receive,
		Up: func(p *route.Path) {
			if cfg.Only != "" && p.Kind() != cfg.Only {
				return
			}
			cfg.Carrier.Add(p)
			m.first.Do(func() { close(m.up) })
		},
		Down: cfg.Carrier.Remove,
		Log:  cfg.Log,
	})
	if err != nil {
		m.cancel()
		return nil, err
	}
	return m, nil
}

// Up is closed when the first path works, as far as we know: on a relay that
// the basestation named there may be nobody.
func (m *Meeting) Up() <-chan struct{} { return m.up }

// Heard is closed when something authentic has come from the peer by a path of
// this meeting.
func (m *Meeting) Heard() <-chan struct{} { return m.heard }

// Offer returns our signed offer. With resume, it is for the running session of
// that name.
func (m *Meeting) Offer(resume []byte) (*signal.Offer, error) {
	o := &signal.Offer{
		Session: m.cfg.Session, Device: m.cfg.Device, Role: m.cfg.Role, Resume: resume,
		Candidates: m.route.Candidates(),
	}
	o.Ufrag, o.Pwd = m.route.Credentials()
	if err := o.Sign(m.cfg.Identity); err != nil {
		return nil, err
	}
	return o, nil
}

// Known says that the basestation knows of the introduction, so that our
// candidates, which have waited for that, can be told.
func (m *Meeting) Known() {
	m.mu.Lock()
	untold := m.untold
	m.known, m.untold = true, nil
	m.mu.Unlock()
	for _, f := range untold {
		m.start(f)
	}
}

// UseRelay begins with the relay, if New did not.
func (m *Meeting) UseRelay(g *signal.Grant) error { return m.route.UseRelay(g) }

// RelayErr returns why the relay last failed; nil if it did not.
func (m *Meeting) RelayErr() error { return m.route.RelayErr() }

// Begin starts the checks with the other side's offer, which the caller has
// verified.
func (m *Meeting) Begin(o *signal.Offer) error {
	if err := m.route.Start(o.Ufrag, o.Pwd); err != nil {
		return err
	}
	m.mu.Lock()
	early := m.early
	m.begun, m.early = true, nil
	m.mu.Unlock()
	m.add(o.Candidates)
	m.add(early)
	return nil
}

// Candidates takes candidates that the other side found later.
func (m *Meeting) Candidates(c *signal.Candidates) {
	m.mu.Lock()
	if !m.begun {
		room := max(0, signal.MaxCandidates-len(m.early))
		m.early = append(m.early, c.List[:min(room, len(c.List))]...)
		m.mu.Unlock()
		return
	}
	m.mu.Unlock()
	m.add(c.List)
}

func (m *Meeting) add(list []string) {
	for _, c := range list {
		if err := m.route.AddCandidate(c); err != nil {
			m.cfg.Log.Debug("candidate refused", "err", err)
		}
	}
}

func (m *Meeting) receive(b []byte, meta packet.Meta, p *route.Path) bool {
	taken, authentic := m.cfg.Deliver(b, meta)
	if authentic {
		m.cfg.Carrier.Heard(p)
		m.voice.Do(func() { close(m.heard) })
	}
	return taken
}

// found tells the other side one of our candidates.
func (m *Meeting) found(candidate string, last bool) {
	c := &signal.Candidates{Session: m.cfg.Session, Last: last}
	if candidate != "" {
		c.List = []string{candidate}
	}
	tell := func() {
		if err := m.tell(signal.PathCandidates, c); err != nil {
			m.cfg.Log.Debug("candidate not sent", "err", err)
		}
	}
	m.mu.Lock()
	known := m.known
	if !known {
		m.untold = append(m.untold, tell) // a route finds few
	}
	m.mu.Unlock()
	if known {
		m.start(tell)
	}
}

func (m *Meeting) tell(path string, msg signal.Message) error {
	ctx, cancel := context.WithTimeout(m.ctx, sendTimeout)
	defer cancel()
	return uplink.Call(ctx, m.cfg.Uplink.CoAP(), coap.POST, path, msg, nil)
}

// start runs f on a goroutine that Close waits for.
func (m *Meeting) start(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.work.Go(f)
	}
}

// leaveTime bounds how long we try to say that we leave: the relay ends by
// itself, later.
const leaveTime = time.Second

// Leave tells the basestation that the introduction is over, so that its relay
// may end, and closes the meeting.
func (m *Meeting) Leave() {
	over := time.AfterFunc(leaveTime, m.cancel)
	defer over.Stop()
	_ = m.tell(signal.PathLeave, &signal.Leave{Session: m.cfg.Session})
	m.Close()
}

// Close takes the paths down and waits for what runs. It may be called again.
func (m *Meeting) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.route.Close()
	m.work.Wait()
}

// Servers returns the addresses that stand for the STUN servers of a
// basestation: those it names, or the address that it was reached at, if that is
// known: behind a proxy it is not. What it names gets datagrams from us, so an
// address that no peer can have is left out.
func Servers(u *uplink.Uplink, named []string) []netip.AddrPort { return servers(u.Remote(), named) }

func servers(reached netip.AddrPort, named []string) []netip.AddrPort {
	var list []netip.AddrPort
	for _, s := range named {
		a, err := netip.ParseAddrPort(s)
		if err == nil && (a == reached || route.Plausible(a, reached.Addr().IsLoopback())) {
			list = append(list, a)
		}
	}
	if len(list) == 0 && reached.IsValid() {
		list = append(list, reached)
	}
	return list
}
