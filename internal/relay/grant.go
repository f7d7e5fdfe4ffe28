package relay

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/turn/v5"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// A pair is a grant: the two legs of one session.
type pair struct {
	s              *Server
	client, device latchkey.Fingerprint
	legs           [2]leg
	started        time.Time
	used           atomic.Int64 // bytes of payload
	ended          atomic.Bool

	mu    sync.Mutex
	timer *time.Timer // for check
}

// A leg is one side of a pair.
type leg struct {
	pair       *pair
	peer       *leg
	user       string
	key        []byte
	name       netip.AddrPort
	addr       net.Addr // name, as the library wants it
	expires    time.Time
	rate       rate
	allocation atomic.Pointer[allocation] // nil: none lives

	mu      sync.Mutex  // guards what follows
	early   []*datagram // payload that came before the first allocation
	started bool        // there was an allocation
}

// hold keeps payload for a leg that has not come yet, so that the side that is
// first does not have to repeat itself. It reports false when the leg has been
// here or earlyQueue datagrams wait.
func (l *leg) hold(payload []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.started || len(l.early) == earlyQueue {
		return false
	}
	d := newDatagram()
	d.n = copy(d.b[:], payload)
	l.early = append(l.early, d)
	return true
}

// publish makes a the allocation of the leg, and reports false if it has one. The
// first is given what was held, before the peer can find it and fill its queue.
func (l *leg) publish(a *allocation) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.allocation.Load() != nil {
		return false
	}
	for _, d := range l.early {
		a.queue <- d // nobody else knows a, and it has room for more
	}
	l.started, l.early = true, nil
	l.allocation.Store(a)
	return true
}

// Grant makes credentials for the client and the device of one session and
// returns them with the function that ends it. They allow nothing else than to
// relay to each other, and must be used within Limits.FirstUse of now. end
// closes both allocations at once; it is idempotent and need not be called for
// a grant that nobody uses any more.
//
// Grant returns latchkey.ErrTooMany when a limit is reached, net.ErrClosed after
// Close.
func (s *Server) Grant(client, device latchkey.Fingerprint, now time.Time) (c, d signal.Grant, end func(), err error) {
	p := &pair{s: s, client: client, device: device, started: time.Now()}
	var passwords [2]string
	for i := range p.legs {
		l := &p.legs[i]
		l.pair, l.peer = p, &p.legs[1-i]
		l.user, passwords[i] = random(15), random(24)
		l.key = turn.GenerateAuthKey(l.user, s.cfg.Realm, passwords[i])
		l.expires = now.Add(s.limits.FirstUse)
	}
	if err := s.register(p); err != nil {
		return c, d, nil, err
	}
	p.check()
	grant := func(i int) signal.Grant {
		l := &p.legs[i]
		return signal.Grant{
			Username: l.user, Password: passwords[i],
			Self: l.name, Peer: l.peer.name, Expires: l.expires,
		}
	}
	return grant(0), grant(1), func() { p.end("session") }, nil
}

// register names the legs and makes them known.
func (s *Server) register(p *pair) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return fmt.Errorf("relay: %w", net.ErrClosed)
	case len(s.users)/2 >= s.limits.Grants, s.clients[p.client] >= s.limits.PerClient,
		s.devices[p.device] >= s.limits.PerDevice:
		return fmt.Errorf("relay: %w", latchkey.ErrTooMany)
	}
	s.clients[p.client]++
	s.devices[p.device]++
	for i := range p.legs {
		l := &p.legs[i]
		l.name = s.newName()
		l.addr = net.UDPAddrFromAddrPort(l.name)
		s.names[l.name.Addr()] = struct{}{}
		s.users[l.user] = l
	}
	return nil
}

// newName returns an address that no live grant has, with an unprivileged port.
func (s *Server) newName() netip.AddrPort {
	var b [6]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		// 240 to 254: the last address of 255/8 is the broadcast address.
		a := netip.AddrFrom4([4]byte{240 + b[0]%15, b[1], b[2], b[3]})
		if _, taken := s.names[a]; !taken {
			port := uint16(b[4])<<8 | uint16(b[5])
			return netip.AddrPortFrom(a, 1024+port%(1<<16-1024))
		}
	}
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// check ends the pair when it is over, or comes back when it may be.
func (p *pair) check() {
	if reason := p.over(); reason != "" {
		p.end(reason)
	}
}

// over returns why the pair is over. If it is not, the timer calls check when
// it may be.
func (p *pair) over() (reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
	now := time.Now()
	end, unused := p.started.Add(p.s.limits.Duration), p.legs[0].expires
	idle := p.legs[0].allocation.Load() == nil && p.legs[1].allocation.Load() == nil
	switch {
	case p.ended.Load():
	case !now.Before(end):
		return "time"
	case idle && now.After(unused):
		return "unused"
	case idle && unused.Before(end):
		p.timer = time.AfterFunc(unused.Sub(now)+time.Millisecond, p.check)
	default:
		p.timer = time.AfterFunc(end.Sub(now), p.check)
	}
	return ""
}

// spend books n bytes of payload and ends the pair when it has no more.
func (p *pair) spend(n int) bool {
	if p.used.Add(int64(n)) <= p.s.limits.Bytes {
		return true
	}
	p.end("bytes")
	return false
}

// end forgets the pair and closes its allocations.
func (p *pair) end(reason string) {
	if p.ended.Swap(true) {
		return
	}
	s := p.s
	s.mu.Lock()
	drop(s.clients, p.client)
	drop(s.devices, p.device)
	for i := range p.legs {
		delete(s.users, p.legs[i].user)
		delete(s.names, p.legs[i].name.Addr())
	}
	s.mu.Unlock()
	for i := range p.legs {
		if a := p.legs[i].allocation.Load(); a != nil {
			_ = a.Close()
		}
	}
	p.check() // stops the timer
	s.cfg.Log.LogAttrs(context.Background(), slog.LevelDebug, "relay ended", slog.Any("peer", p.client), slog.Any("device", p.device),
		slog.String("reason", reason), slog.Int64("bytes", p.used.Load()))
}

func drop(m map[latchkey.Fingerprint]int, f latchkey.Fingerprint) {
	if m[f]--; m[f] <= 0 {
		delete(m, f)
	}
}

// bind notes the channel by which the leg's client wants datagrams of its peer.
func (l *leg) bind(peer net.Addr, number uint16) {
	if l == nil {
		return
	}
	if a := l.allocation.Load(); a != nil && sameName(peer, l.peer.name) {
		a.channel.Store(uint32(number))
	}
}

// unbind forgets the channel.
func (l *leg) unbind(number uint16) {
	if l == nil {
		return
	}
	if a := l.allocation.Load(); a != nil {
		a.channel.CompareAndSwap(uint32(number), 0)
	}
}
