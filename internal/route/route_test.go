package route

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-dev/latchkey/internal/netlab"
	"github.com/latchkey-dev/latchkey/internal/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for; no test passes by waiting.
const patience = 30 * time.Second

var quiet = slog.New(slog.DiscardHandler)

func newCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// A got is a datagram that a route received.
type got struct {
	text string
	path *Path
	src  netip.AddrPort
}

// An end is one of two peers: a socket, its hub, a route, and what it reports.
type end struct {
	t     testing.TB
	conn  packet.Conn
	hub   *Hub
	route *Route
	other chan string // DTLS that the hub did not take

	up, down chan *Path
	got      chan got
	trickle  chan string
}

// newEnd starts an end on a socket. Its addresses are those of the socket.
func newEnd(t testing.TB, conn packet.Conn) *end {
	e := &end{
		t: t, conn: conn, other: make(chan string, 100),
		up: make(chan *Path, 100), down: make(chan *Path, 100), got: make(chan got, 100), trickle: make(chan string, 100),
	}
	e.hub = NewHub(HubConfig{Send: conn.Send, Addrs: conn.LocalAddrs, Log: quiet})
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := conn.Serve(ctx, func(b []byte, m packet.Meta) {
			if !e.hub.Deliver(b, m) {
				select {
				case e.other <- string(b):
				default:
				}
			}
		}); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		conn.Close()
		wait.Wait()
	})
	return e
}

// open makes the end's route. What cfg leaves out is filled in.
func (e *end) open(cfg Config) {
	e.t.Helper()
	cfg.Receive = func(b []byte, m packet.Meta, p *Path) bool {
		select {
		case e.got <- got{string(b), p, m.Src}:
		default: // nobody reads them
		}
		return true
	}
	cfg.Up = func(p *Path) { e.up <- p }
	cfg.Down = func(p *Path) { e.down <- p }
	cfg.Candidate = func(c string, last bool) {
		if last {
			close(e.trickle)
		} else {
			e.trickle <- c
		}
	}
	r, err := e.hub.New(cfg)
	if err != nil {
		e.t.Fatal(err)
	}
	e.route = r
	e.t.Cleanup(r.Close)
}

// introduce gives each of two ends what the other one offers, and its
// candidates as they are found.
func introduce(t testing.TB, a, b *end) {
	t.Helper()
	half := func(a, b *end) {
		for _, c := range a.route.Candidates() {
			err := b.route.AddCandidate(c)
			if unused := strings.Contains(c, " 127.0.0.1 ") && !b.route.cfg.Controlling; (err != nil) != unused {
				t.Errorf("candidate %q: %v", c, err)
			}
		}
		if err := b.route.Start(a.route.Credentials()); err != nil {
			t.Error(err)
		}
	}
	half(a, b)
	half(b, a)
	var wait sync.WaitGroup
	pass := func(a, b *end) {
		for c := range a.trickle {
			b.route.AddCandidate(c) // refusals are tested elsewhere
		}
	}
	wait.Go(func() { pass(a, b) })
	wait.Go(func() { pass(b, a) })
	t.Cleanup(wait.Wait)
}

func receive[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

// waitFor returns the path of a kind when it comes up.
func (e *end) waitFor(kind Kind) *Path {
	e.t.Helper()
	for {
		if p := receive(e.t, e.up, string(kind)+" path"); p.Kind() == kind {
			return p
		}
	}
}

// record is a datagram that looks like DTLS.
func record(text string) []byte { return append([]byte{23}, text...) }

// exchange sends by p from a, and by q back, until it arrives: a side may
// trust the other one's address later than that one trusts its.
func exchange(t testing.TB, a *end, p *Path, b *end, q *Path) {
	t.Helper()
	half := func(p *Path, b *end, q *Path) {
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			if err := p.Send(record("hello")); err != nil {
				t.Fatal(err)
			}
			select {
			case g := <-b.got:
				if g.text != string(record("hello")) || g.path != q {
					t.Fatalf("got %+v, want it by %s", g, q.Kind())
				}
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
		t.Fatalf("nothing came by the %s path", p.Kind())
	}
	half(p, b, q)
	half(q, a, p)
}

// sockets returns two ends on real sockets.
func sockets(t testing.TB) (a, b *end) {
	listen := func() packet.Conn {
		c, err := packet.Listen("127.0.0.1:0", packet.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return newEnd(t, listen()), newEnd(t, listen())
}

func TestDirectInMemory(t *testing.T) {
	n := netlab.NewNetwork()
	x, y := netip.MustParseAddrPort("192.0.2.1:5690"), netip.MustParseAddrPort("192.0.2.2:5690")
	a, b := newEnd(t, n.Attach(x, packet.Config{})), newEnd(t, n.Attach(y, packet.Config{}))
	a.open(Config{Controlling: true})
	b.open(Config{})
	introduce(t, a, b)
	p, q := a.waitFor(Direct), b.waitFor(Direct)
	if p.Remote() != y || q.Remote() != x {
		t.Errorf("paths to %v and %v", p.Remote(), q.Remote())
	}
	exchange(t, a, p, b, q)
	a.route.Close()
	a.route.Close()
	if receive(t, a.down, "Down") != p || p.Remote().IsValid() {
		t.Error("the path outlived its route")
	}
	if err := p.Send(record("x")); err == nil {
		t.Error("sent on a closed route")
	}
}

func TestDirectOverSockets(t *testing.T) {
	a, b := sockets(t)
	r := newRelay(t)
	a.open(Config{Controlling: true, Loopback: true, Servers: []netip.AddrPort{r.addr}})
	b.open(Config{Loopback: true, Servers: []netip.AddrPort{r.addr}})
	introduce(t, a, b)
	exchange(t, a, a.waitFor(Direct), b, b.waitFor(Direct))
}

func TestRelay(t *testing.T) {
	for _, c := range []struct {
		name string
		tls  bool
	}{{"udp", false}, {"tls", true}} {
		t.Run(c.name, func(t *testing.T) {
			a, b := sockets(t)
			r := newRelay(t)
			ga, gb := r.grants(0)
			dial := r.dialUDP
			if c.tls {
				dial = r.dialTLS
			}
			a.open(Config{Controlling: true, Relay: ga, DialRelay: dial})
			b.open(Config{DialRelay: dial})
			if err := b.route.UseRelay(gb); err != nil {
				t.Fatal(err)
			}
			if b.route.UseRelay(gb) == nil {
				t.Error("two relay legs")
			}
			p, q := a.waitFor(Relay), b.waitFor(Relay)
			if p.Remote() != ga.Peer || q.Remote() != gb.Peer {
				t.Errorf("paths to %v and %v", p.Remote(), q.Remote())
			}
			for range 20 { // indications at first, then a channel
				exchange(t, a, p, b, q)
			}
		})
	}
}

func TestRelayFirstThenDirect(t *testing.T) {
	a, b := sockets(t)
	r := newRelay(t)
	ga, gb := r.grants(0)
	a.open(Config{Controlling: true, Loopback: true, Relay: ga, DialRelay: r.dialUDP})
	b.open(Config{Loopback: true, Relay: gb, DialRelay: r.dialUDP})
	ca, cb := NewCarrier(), NewCarrier()
	ca.Add(a.waitFor(Relay))
	cb.Add(b.waitFor(Relay))
	if kind, _, ok := ca.Current(); !ok || kind != Relay {
		t.Fatalf("on %q", kind)
	}
	introduce(t, a, b)
	p, q := a.waitFor(Direct), b.waitFor(Direct)
	ca.Add(p)
	cb.Add(q)
	if kind, remote, _ := ca.Current(); kind != Direct || remote != p.Remote() {
		t.Fatalf("on %q to %v", kind, remote)
	}
	if err := ca.Send(record("both")); err != nil {
		t.Fatal(err)
	}
	kinds := []Kind{receive(t, b.got, "datagram").path.Kind(), receive(t, b.got, "second datagram").path.Kind()}
	slices.Sort(kinds)
	if !slices.Equal(kinds, []Kind{Direct, Relay}) {
		t.Errorf("an unproven path was sent on beside %v", kinds)
	}
	ca.Heard(p)
	ca.Send(record("one"))
	if g := receive(t, b.got, "datagram"); g.path != q {
		t.Errorf("came by %s", g.path.Kind())
	}
}
