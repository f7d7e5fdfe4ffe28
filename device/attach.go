package device

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/signal"
	"github.com/latchkey-dev/latchkey/internal/uplink"
)

const (
	attachTime = 20 * time.Second // to reach the basestation and to attach
	// attachPause is the least time between two legs, however often our network
	// changes.
	attachPause = time.Second
	// watchNetwork is how often we look whether our addresses have changed.
	watchNetwork = 500 * time.Millisecond
	// clockSlack is how far our clock may be off before it is told.
	clockSlack = 5 * time.Minute
)

// An AttachStatus is how a device stands with its basestation.
type AttachStatus struct {
	// State is "off" without a basestation, "connecting", "attached" or
	// "waiting" before the next try.
	State       string         `json:"state"`
	Basestation netip.AddrPort `json:"basestation"` // that was reached
	Transport   string         `json:"transport"`   // "udp" or "tls"
	Mapped      netip.AddrPort `json:"mapped"`      // where our datagrams come from, as seen there
	Since       time.Time      `json:"since"`       // of State
	Tokens      uint64         `json:"tokens"`      // version of the connect tokens that it has
	Error       string         `json:"error"`       // why it is not attached
}

// An attachment keeps a device attached to its basestation.
type attachment struct {
	srv    *server
	config atomicConfig
	nudge  chan struct{} // something has changed: look again now
	doubts chan struct{} // a session is silent: see whether the basestation hears us
	budget *introBudget

	mu     sync.Mutex // guards what follows
	status AttachStatus
	giveUp context.CancelCauseFunc // on reaching the basestation, while that is tried
	leg    *uplink.Uplink          // while attached
	told   string                  // in the last event about the attachment
	open   map[signal.SessionID]*introduction
}

// A baseConfig is where the basestation is. Without addresses there is none.
type baseConfig struct {
	addrs []string
	key   latchkey.Fingerprint
}

func (b baseConfig) equal(o baseConfig) bool { return b.key == o.key && slices.Equal(b.addrs, o.addrs) }

// atomicConfig holds the configuration in force.
type atomicConfig struct {
	mu      sync.Mutex
	present baseConfig
}

func (c *atomicConfig) load() baseConfig {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.present
}

func (c *atomicConfig) store(b baseConfig) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.present = b
}

// newBaseConfig checks what was configured.
func newBaseConfig(addrs []string, key latchkey.Fingerprint) (baseConfig, error) {
	if len(addrs) > 0 && key == (latchkey.Fingerprint{}) {
		return baseConfig{}, errors.New("device: a basestation is known by its key: set BasestationKey")
	}
	return baseConfig{slices.Clone(addrs), key}, nil
}

// configured reports whether clients may come from other networks.
func (a *attachment) configured() bool { return len(a.config.load().addrs) > 0 }

func newAttachment(s *server, c baseConfig) *attachment {
	a := &attachment{
		srv: s, nudge: make(chan struct{}, 1), doubts: make(chan struct{}, 1), budget: newIntroBudget(),
		status: AttachStatus{State: "off", Since: time.Now()}, open: make(map[signal.SessionID]*introduction),
	}
	a.config.store(c)
	return a
}

// set changes where the basestation is. It takes effect at once.
func (a *attachment) set(c baseConfig) {
	a.config.store(c)
	a.mu.Lock()
	if a.giveUp != nil {
		a.giveUp(errMoved)
	}
	a.mu.Unlock()
	a.wake()
}

// trying bounds what it takes to attach as c says. It ends with errMoved when
// the configuration changes.
func (a *attachment) trying(ctx context.Context, c baseConfig) (context.Context, func()) {
	ctx, giveUp := context.WithCancelCause(ctx)
	a.mu.Lock()
	a.giveUp = giveUp
	a.mu.Unlock()
	if !a.config.load().equal(c) {
		giveUp(errMoved)
	}
	ctx, cancel := context.WithTimeout(ctx, attachTime)
	return ctx, func() {
		cancel()
		giveUp(nil)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.giveUp = nil
	}
}

// wake makes run look again.
func (a *attachment) wake() {
	select {
	case a.nudge <- struct{}{}:
	default:
	}
}

// doubt makes stay see whether the basestation answers.
func (a *attachment) doubt() {
	select {
	case a.doubts <- struct{}{}:
	default:
	}
}

// run keeps the device attached until ctx ends.
func (a *attachment) run(ctx context.Context) {
	var wait backoff
	for ctx.Err() == nil {
		c := a.config.load()
		if len(c.addrs) == 0 {
			a.tell(AttachStatus{State: "off"})
			a.pause(ctx, 0)
			continue
		}
		began := time.Now()
		err := a.once(ctx, c)
		a.setLeg(nil)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errMoved) {
			if rest := attachPause - time.Since(began); rest > 0 && a.config.load().equal(c) {
				a.pause(ctx, rest)
			}
			continue
		}
		delay := wait.next(err, time.Since(began), upTo)
		a.event(eventOf(err), c.key, err)
		a.srv.log.Warn("not attached", "op", "attach", "event", eventOf(err), "code", latchkey.CodeOf(err), "retry", delay.Round(time.Second), "err", err)
		a.tell(AttachStatus{State: "waiting", Error: err.Error()})
		a.pause(ctx, delay)
	}
}

// errMoved ends a leg because of a change on our side, or between us and the
// basestation.
var errMoved = errors.New("device: network or configuration has changed")

// pause waits for d, for ever if that is 0, or until something changes.
func (a *attachment) pause(ctx context.Context, d time.Duration) {
	var after <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		after = timer.C
	}
	select {
	case <-ctx.Done():
	case <-after:
	case <-a.nudge:
	}
}

// once attaches and stays until the leg ends, which it reports.
func (a *attachment) once(ctx context.Context, c baseConfig) error {
	a.tell(AttachStatus{State: "connecting"})
	dialling, done := a.trying(ctx, c)
	defer done()
	leg, err := uplink.Dial(dialling, uplink.Config{
		Identity: a.srv.identity, Addrs: c.addrs, Key: c.key, Handler: a.serve, Socket: a.srv.socket(), Log: a.srv.log,
	})
	if err != nil {
		return err
	}
	defer leg.Close()
	var got signal.Attached
	hello := &signal.Attach{ID: a.srv.id, Version: version(), Time: time.Now()}
	a.setLeg(leg) // clients that wait for us may be introduced before we have the answer
	if err := uplink.Call(dialling, leg.CoAP(), coap.POST, signal.PathAttach, hello, &got); err != nil {
		return fmt.Errorf("attach as %s: %w", a.srv.id, err)
	}
	leg.Took(time.Since(hello.Time))
	if off := time.Since(got.Time).Abs(); off > clockSlack {
		a.srv.log.Warn("our clock and the basestation's differ", "op", "attach", "event", "clock", "by", off.Round(time.Second))
	}
	a.srv.log.Info("attached", "op", "attach", "event", "attached", "basestation", leg.Remote(), "transport", leg.Transport())
	a.event("attached", c.key, nil)
	a.tell(AttachStatus{
		State: "attached", Basestation: leg.Remote(), Transport: leg.Transport(), Mapped: got.Mapped, Tokens: got.TokensVersion,
	})
	return a.stay(ctx, leg, c, got.TokensVersion)
}

// stay keeps the tokens at the basestation up to date until the leg ends or
// something has changed.
func (a *attachment) stay(ctx context.Context, leg *uplink.Uplink, c baseConfig, version uint64) error {
	tokens, addrs := a.srv.newTokenUpload(version), packet.SortedHostAddrs()
	look := time.NewTicker(watchNetwork)
	defer look.Stop()
	for {
		changed := a.srv.changed()
		if err := tokens.upload(ctx, leg); err != nil {
			return err
		}
		a.setTokens(tokens.version)
	wait:
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-leg.Context().Done():
			return context.Cause(leg.Context())
		case <-changed:
		case <-a.doubts:
			if err := a.stillThere(ctx, leg); err != nil {
				return err
			}
			goto wait
		case <-a.nudge:
			if !a.config.load().equal(c) {
				return errMoved
			}
		case <-look.C:
			if now := packet.SortedHostAddrs(); !slices.Equal(addrs, now) {
				a.srv.log.Info("our addresses have changed", "op", "attach")
				addrs = now
				if err := a.stillThere(ctx, leg); err != nil {
					return err
				}
			}
			if !tokens.due(time.Now()) {
				goto wait
			}
		}
	}
}

// stillThere returns errMoved if the basestation does not answer on the leg.
func (a *attachment) stillThere(ctx context.Context, leg *uplink.Uplink) error {
	if leg.Answers(ctx) || ctx.Err() != nil {
		return nil
	}
	a.srv.log.Info("the basestation does not answer", "op", "attach")
	return errMoved
}

// eventOf is the word by which logs tell failures apart.
func eventOf(err error) string {
	switch {
	case errors.Is(err, latchkey.ErrNotRegistered):
		return "unknown_fingerprint"
	case errors.Is(err, latchkey.ErrWrongID):
		return "wrong_id"
	case errors.Is(err, latchkey.ErrReplaced):
		return "replaced"
	case errors.Is(err, latchkey.ErrRevoked):
		return "revoked"
	case errors.Is(err, latchkey.ErrIdentityChanged):
		return "pin_failure"
	case errors.Is(err, latchkey.ErrShutdown):
		return "basestation_stopping"
	case errors.Is(err, latchkey.ErrTooMany), errors.Is(err, latchkey.ErrForbidden), errors.Is(err, latchkey.ErrHandshakeRefused):
		return "refused"
	case errors.Is(err, uplink.ErrProxy):
		return "proxy"
	}
	return "unreachable"
}

// event tells the audit log how it went, unless it went the same way before: a
// basestation that is away is tried again for ever.
func (a *attachment) event(detail string, key latchkey.Fingerprint, err error) {
	a.mu.Lock()
	again := a.told == detail
	a.told = detail
	a.mu.Unlock()
	if again && err != nil {
		return
	}
	e := acl.Event{Kind: acl.EventAttach, Outcome: outcome(err), Object: key.String(), Detail: detail, Code: latchkey.CodeOf(err)}
	a.srv.event(e)
}

func (a *attachment) tell(s AttachStatus) {
	s.Since = time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.status.State == s.State && s.State == "off" {
		return
	}
	a.status = s
}

func (a *attachment) setTokens(version uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status.Tokens = version
}

func (a *attachment) setLeg(leg *uplink.Uplink) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leg = leg
}

func (a *attachment) now() AttachStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

// A socket lets the leg to the basestation share the device's UDP socket.
type socket struct{ s *server }

func (s *server) socket() uplink.Socket { return socket{s} }

// Send implements uplink.Socket.
func (k socket) Send(b []byte, to netip.AddrPort, from netip.Addr) error {
	return k.s.sock.Send(b, to, from)
}

// Register implements uplink.Socket.
func (k socket) Register(source netip.AddrPort, h func([]byte, packet.Meta)) (unregister func()) {
	return k.s.legs.Register(source, h)
}
