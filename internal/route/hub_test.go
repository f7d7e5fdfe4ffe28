package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v4"

	"github.com/latchkey-dev/latchkey/internal/netlab"
	"github.com/latchkey-dev/latchkey/internal/packet"
)

// pair4 returns two ends on a network in memory.
func pair4(t testing.TB) (n *netlab.Network, a, b *end) {
	n = netlab.NewNetwork()
	return n, newEnd(t, n.Attach(netip.MustParseAddrPort("192.0.2.1:5690"), packet.Config{})),
		newEnd(t, n.Attach(netip.MustParseAddrPort("192.0.2.2:5690"), packet.Config{}))
}

// empty fails the test if the hub remembers anything.
func (e *end) empty() {
	e.t.Helper()
	e.hub.mu.Lock()
	defer e.hub.mu.Unlock()
	if len(e.hub.routes)+len(e.hub.pending)+len(e.hub.checked) != 0 {
		e.t.Errorf("the hub keeps %d routes, %d requests, %d addresses", len(e.hub.routes), len(e.hub.pending), len(e.hub.checked))
	}
}

func TestForgedDatagrams(t *testing.T) {
	n, a, b := pair4(t)
	a.open(Config{Controlling: true})
	b.open(Config{})
	stranger := netip.MustParseAddrPort("192.0.2.66:5690")
	deliver := func(from netip.AddrPort, payload []byte) {
		n.Inject(netlab.Datagram{From: from, To: b.hub.cfg.Addrs()[0], HopLimit: 64, Payload: payload})
	}
	// Before any check, the peer's own address is a stranger's too.
	deliver(a.hub.cfg.Addrs()[0], record("early"))
	if g := receive(t, b.other, "datagram"); g != string(record("early")) {
		t.Fatalf("got %q", g)
	}
	introduce(t, a, b)
	p, q := a.waitFor(Direct), b.waitFor(Direct)
	exchange(t, a, p, b, q)
	deliver(stranger, record("forged"))
	if g := receive(t, b.other, "datagram"); g != string(record("forged")) {
		t.Fatalf("got %q", g)
	}
	// Addresses and credentials that are nearly right do not help.
	ufrag, _ := b.route.Credentials()
	for _, setters := range [][]stun.Setter{
		{stun.BindingRequest, stun.NewUsername(ufrag + ":peer")},
		{stun.BindingRequest, stun.NewUsername(ufrag + ":peer"), stun.NewShortTermIntegrity("wrong")},
	} {
		m, err := stun.Build(append([]stun.Setter{stun.TransactionID}, setters...)...)
		if err != nil {
			t.Fatal(err)
		}
		deliver(stranger, m.Raw) // taken and dropped
	}
	for _, payload := range []string{"", "\x00", "\x15", "\x80rtp", "\x40\x01turn", "\x00\x01\x00\x00\x21\x12\xa4\x42............"} {
		if b.hub.Deliver([]byte(payload), packet.Meta{Src: stranger}) {
			t.Errorf("took %q", payload)
		}
	}
	deliver(stranger, record("again"))
	for g := range b.other {
		if g == string(record("again")) {
			break
		}
	}
	b.route.mu.Lock()
	sources, checked := len(b.route.sources), len(b.route.checked)
	b.route.mu.Unlock()
	if sources != 1 || checked != 1 {
		t.Errorf("%d sources and %d checked addresses, want the peer's", sources, checked)
	}
	a.route.Close()
	b.route.Close()
	a.empty()
	b.empty()
}

// TestAnswersMustBeThePeers lets a host that is not the peer answer checks, as
// a STUN server at the address of a candidate would.
func TestAnswersMustBeThePeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, _ := pair4(t)
		serveSTUN(t, n)
		a.open(Config{Controlling: true})
		c, err := hostCandidate(stunServer)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.route.Start("fragment", "password of the peer, long"); err != nil {
			t.Fatal(err)
		}
		if a.route.Start("fragment", "password of the peer, long") == nil {
			t.Error("started twice")
		}
		if err := a.route.AddCandidate(c); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		n.Inject(netlab.Datagram{From: stunServer, To: a.hub.cfg.Addrs()[0], Payload: record("x")})
		receive(t, a.other, "datagram that the hub refused")
		a.route.mu.Lock()
		defer a.route.mu.Unlock()
		if len(a.route.checked) != 0 || a.route.direct.Remote().IsValid() {
			t.Error("an answer without integrity was believed")
		}
	})
}

// TestFloods counts what a hostile peer can make us send and keep.
func TestFloods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, _ := pair4(t)
		a.open(Config{Controlling: true})
		var sent atomic.Int64
		n.Filter(func(*netlab.Datagram) bool { sent.Add(1); return true })
		refused := 0
		for i := range 200 {
			c, err := hostCandidate(netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 5690))
			if err != nil {
				t.Fatal(err)
			}
			if a.route.AddCandidate(c) != nil {
				refused++
			}
		}
		if refused != 200-maxRemotes {
			t.Errorf("%d of 200 candidates refused", refused)
		}
		if err := a.route.Start("fragment", "password of the peer, long"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if checks := sent.Load(); checks < 20*maxRemotes || checks > 60*maxRemotes {
			t.Errorf("%d checks of %d addresses", checks, maxRemotes)
		}
		// Authentic requests from everywhere: the peer may have two hands.
		ufrag, pwd := a.route.Credentials()
		for i := range 3 * maxSources {
			m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(ufrag+":fragment"), stun.NewShortTermIntegrity(pwd))
			if err != nil {
				t.Fatal(err)
			}
			src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 5690)
			a.hub.Deliver(m.Raw, packet.Meta{Src: src, Dst: a.hub.cfg.Addrs()[0].Addr()})
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute)
		a.route.mu.Lock()
		defer a.route.mu.Unlock()
		if len(a.route.sources) != maxSources || len(a.route.paces) > maxSources+maxRemotes || len(a.route.pending) > maxPending {
			t.Errorf("%d sources, %d pairs, %d requests", len(a.route.sources), len(a.route.paces), len(a.route.pending))
		}
	})
}

func TestMapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair4(t)
		serveSTUN(t, n)
		got, err := a.hub.Mapped(t.Context(), stunServer)
		if err != nil || got != a.hub.cfg.Addrs()[0] {
			t.Errorf("mapped to %v, %v", got, err)
		}
		var lost atomic.Int64
		n.Filter(func(*netlab.Datagram) bool { return lost.Add(1) > 2 })
		if _, err := a.hub.Mapped(t.Context(), stunServer); err != nil {
			t.Errorf("after a loss: %v", err)
		}
		if _, err := a.hub.Mapped(t.Context(), b.hub.cfg.Addrs()[0]); err == nil {
			t.Error("no server, no error")
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("stop")
		cancel(stop)
		if _, err := a.hub.Mapped(ctx, stunServer); !errors.Is(err, stop) {
			t.Errorf("after the end: %v", err)
		}
		n.Filter(func(d *netlab.Datagram) bool { return d.To == stunServer || forge(d) })
		if got, err := a.hub.Mapped(t.Context(), stunServer); err == nil {
			t.Errorf("an answer from elsewhere was believed: %v", got)
		}
		a.empty()
	})
}

// forge gives an answer another source.
func forge(d *netlab.Datagram) bool {
	d.From = netip.MustParseAddrPort("198.51.100.66:3478")
	return true
}

// TestTwoRoutesToOneAddress is what a new introduction of a running session
// looks like when neither side has moved.
func TestTwoRoutesToOneAddress(t *testing.T) {
	_, a, b := pair4(t)
	a.open(Config{Controlling: true})
	b.open(Config{})
	introduce(t, a, b)
	p, q := a.waitFor(Direct), b.waitFor(Direct)
	exchange(t, a, p, b, q)
	older := b.route

	a2, b2 := *a, *b
	for _, e := range []*end{&a2, &b2} {
		e.up, e.down, e.got, e.trickle = make(chan *Path, 9), make(chan *Path, 9), make(chan got, 99), make(chan string, 9)
	}
	a2.open(Config{Controlling: true})
	b2.open(Config{})
	introduce(t, &a2, &b2)
	p2, q2 := a2.waitFor(Direct), b2.waitFor(Direct)
	exchange(t, &a2, p2, &b2, q2)

	a2.route.Close()
	b2.route.Close()
	exchange(t, a, p, b, q)
	older.Close()
	b.empty()
}

func TestReceiveMayRefuse(t *testing.T) {
	_, a, b := pair4(t)
	a.open(Config{Controlling: true})
	b.open(Config{})
	b.route.cfg.Receive = func([]byte, packet.Meta, *Path) bool { return false }
	introduce(t, a, b)
	p := a.waitFor(Direct)
	b.waitFor(Direct)
	if err := p.Send(record("for another")); err != nil {
		t.Fatal(err)
	}
	if g := receive(t, b.other, "datagram"); g != string(record("for another")) {
		t.Errorf("got %q", g)
	}
}

func TestNewChecksItsConfig(t *testing.T) {
	_, a, _ := pair4(t)
	if _, err := a.hub.New(Config{}); err == nil {
		t.Error("a route without functions")
	}
	a.open(Config{})
	if a.route.UseRelay(nil) == nil {
		t.Error("a relay without a way there")
	}
	if err := a.route.AddCandidate(""); err != nil {
		t.Errorf("end of candidates: %v", err)
	}
	a.route.Close()
	if a.route.Start("fragment", "password of the peer, long") == nil {
		t.Error("started after Close")
	}
	a.empty()
}

func TestKindsAreThoseOfTheDesign(t *testing.T) {
	if got := fmt.Sprintln(Local, Direct, Relay, Kind("other").rank()); got != "local direct relay 0\n" {
		t.Error(got)
	}
}

// TestPathMoves has ICE select another pair.
func TestPathMoves(t *testing.T) {
	_, a, b := pair4(t)
	a.open(Config{Controlling: true})
	b.open(Config{})
	introduce(t, a, b)
	p := a.waitFor(Direct)
	elsewhere := netip.MustParseAddrPort("192.0.2.3:5690")
	a.route.report(func() { a.route.selected.remote = elsewhere })
	if p.Remote() != elsewhere || len(a.up)+len(a.down) != 0 {
		t.Errorf("on %v, with %d reports", p.Remote(), len(a.up)+len(a.down))
	}
}

// TestDatagramsCostNoMemory is about what every datagram of a session passes.
func TestDatagramsCostNoMemory(t *testing.T) {
	_, a, b := pair4(t)
	a.open(Config{Controlling: true})
	b.open(Config{})
	introduce(t, a, b)
	p := a.waitFor(Direct)
	b.waitFor(Direct)
	sent := 0
	l := *p.link.Load()
	l.send = func([]byte) error { sent++; return nil }
	p.link.Store(&l)
	c := NewCarrier()
	c.Add(p)
	data := record("x")
	if n := testing.AllocsPerRun(100, func() {
		c.Send(data)
		c.Heard(p)
	}); n != 0 || sent == 0 {
		t.Errorf("%v allocations to send", n)
	}
	var taken atomic.Int64
	stranger := packet.Meta{Src: netip.MustParseAddrPort("192.0.2.66:5690")}
	if n := testing.AllocsPerRun(100, func() {
		if a.hub.Deliver(data, stranger) {
			taken.Add(1)
		}
	}); n != 0 || taken.Load() != 0 {
		t.Errorf("%v allocations to refuse, %d taken", n, taken.Load())
	}
}
