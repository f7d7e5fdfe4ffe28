package secure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/netlab"
	"github.com/latchkey-dev/latchkey/internal/packet"
)

// A hall is a Server on a network in memory.
type hall struct {
	*Server
	network  *netlab.Network
	host     *netlab.Host
	accepted chan *session
	answers  int // datagrams sent, guarded by mu
	mu       sync.Mutex
}

// newHall serves until the test ends, in whatever bubble it is called.
func newHall(t *testing.T, cfg Config, limits Limits) *hall {
	t.Helper()
	h := &hall{network: netlab.NewNetwork(), accepted: make(chan *session, 1000)}
	h.host = h.network.Attach(serverAddr, packet.Config{})
	h.Server = &Server{Config: cfg, Limits: limits, Send: h.send, Accept: h.accept}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- h.host.Serve(ctx, h.Deliver) }()
	t.Cleanup(func() {
		h.Close()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if len(h.peers) != 0 || len(h.halves) != 0 || h.conns != 0 {
			t.Errorf("a closed server keeps %d sources, %d handshakes, %d sessions", len(h.peers), len(h.halves), h.conns)
		}
	})
	return h
}

func (h *hall) send(b []byte, to netip.AddrPort, from netip.Addr) error {
	h.mu.Lock()
	h.answers++
	h.mu.Unlock()
	return h.host.Send(b, to, from)
}

// accept echoes and keeps what the connection's end was.
func (h *hall) accept(c *Conn) {
	s := &session{Conn: c, got: make(chan string, 100), done: make(chan error, 1)}
	h.accepted <- s
	s.done <- c.Serve(func(b []byte) {
		s.got <- string(b)
		_, _ = c.Write(b)
	})
}

// counts returns handshakes, sessions and sources.
func (h *hall) counts() (halves, conns, sources int) {
	h.Server.mu.Lock()
	defer h.Server.mu.Unlock()
	return len(h.halves), h.conns, len(h.peers)
}

// A visitor is a client on the hall's network.
type visitor struct {
	*session
	leave func()
}

// visit makes a session from an address, or returns why not.
func (h *hall) visit(t *testing.T, cfg Config, from netip.AddrPort) (*visitor, error) {
	t.Helper()
	host := h.network.Attach(from, packet.Config{})
	hs := NewClient(cfg, func(b []byte) error { return host.Send(b, serverAddr, netip.Addr{}) })
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- host.Serve(ctx, func(b []byte, m packet.Meta) {
			if m.Src == serverAddr {
				hs.Deliver(b, m)
			}
		})
	}()
	vanish := func() { // as a crash would: without a goodbye
		cancel()
		<-served
		_ = host.Close()
	}
	conn, err := hs.Run(t.Context())
	if err != nil {
		vanish()
		return nil, err
	}
	v := &visitor{session: serve(t, conn)}
	v.leave = sync.OnceFunc(func() {
		conn.link.silence()
		_ = conn.Close()
		vanish()
	})
	t.Cleanup(v.leave)
	return v, nil
}

func (h *hall) mustVisit(t *testing.T, cfg Config, from netip.AddrPort) *visitor {
	t.Helper()
	v, err := h.visit(t, cfg, from)
	if err != nil {
		t.Fatalf("visit from %v: %v", from, err)
	}
	return v
}

// echo sends a text and waits for it to come back.
func (v *visitor) echo(t *testing.T, text string) error {
	t.Helper()
	return talk(t, v.session, v.session, text)
}

// hello returns the first datagram of a fresh client.
func hello(t testing.TB) []byte {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var first []byte
	h := NewClient(anyone(t), func(b []byte) error {
		if first == nil {
			first = slices.Clone(b)
		}
		cancel()
		return nil
	})
	if _, err := h.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return first
}

func TestServer(t *testing.T) {
	cfg := anyone(t)
	clients := []Config{anyone(t), anyone(t), anyone(t)}
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, cfg, Limits{})
		var visitors []*visitor
		for i, c := range clients {
			from := netip.AddrPortFrom(clientAddr.Addr(), uint16(1000+i))
			visitors = append(visitors, h.mustVisit(t, c, from))
			s := <-h.accepted
			if p := s.Peer(); p.Key != c.Identity.Fingerprint() || p.Meta.Src != from || p.Meta.Dst != serverAddr.Addr() {
				t.Errorf("accepted %+v", p)
			}
		}
		for i, v := range visitors {
			if err := v.echo(t, fmt.Sprint("echo ", i)); err != nil {
				t.Error(err)
			}
		}
		visitors[0].Close()
		synctest.Wait()
		if halves, conns, sources := h.counts(); halves != 0 || conns != 2 || sources != 2 {
			t.Errorf("%d handshakes, %d sessions, %d sources after a goodbye", halves, conns, sources)
		}
		h.Close()
		for _, v := range visitors[1:] {
			if err := ends(t, v.session); err != io.EOF {
				t.Errorf("the server's Close ended a client with %v", err)
			}
		}
		h.Close()
		h.Deliver(hello(t), packet.Meta{Src: clientAddr})
		if halves, _, _ := h.counts(); halves != 0 {
			t.Error("a closed server begins a handshake")
		}
	})
}

func TestRefusedVisitorLeavesNothing(t *testing.T) {
	cfg, client := anyone(t), anyone(t)
	cfg.Verify = func(Peer) error { return latchkey.ErrUnpaired }
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, cfg, Limits{})
		if _, err := h.visit(t, client, clientAddr); !errors.Is(err, latchkey.ErrHandshakeRefused) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if halves, conns, sources := h.counts(); halves+conns+sources != 0 || len(h.accepted) != 0 {
			t.Errorf("%d handshakes, %d sessions, %d sources, %d accepted", halves, conns, sources, len(h.accepted))
		}
	})
}

// TestNoiseGetsNoAnswer sends random bytes, every forged shape and damaged
// ClientHellos from unknown sources.
func TestNoiseGetsNoAnswer(t *testing.T) {
	cfg := anyone(t)
	noise := [][]byte{{}, {22}, make([]byte, 1200)}
	random := rand.New(rand.NewPCG(2, 2))
	for range 2000 {
		b := make([]byte, random.IntN(400))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		noise = append(noise, b)
	}
	for _, s := range shapes() {
		noise = append(noise, s.data)
	}
	whole := hello(t)
	for i := range whole {
		noise = append(noise, whole[:i])
		if i != 1 && i != 2 { // the version bytes are looked at below
			broken := slices.Clone(whole)
			broken[i] ^= 0xff
			if _, ok := parseClientHello(broken); !ok {
				noise = append(noise, broken)
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, cfg, Limits{})
		for _, b := range noise {
			h.Deliver(b, packet.Meta{Src: clientAddr, Dst: serverAddr.Addr()})
		}
		synctest.Wait()
		if halves, conns, sources := h.counts(); halves+conns+sources+h.answers != 0 {
			t.Errorf("%d handshakes, %d sessions, %d sources, %d answers", halves, conns, sources, h.answers)
		}
	})
}

// TestWrongAddress injects every shape into both ends of a handshake, from an
// address that is not the peer's. Nothing at all happens.
func TestWrongAddress(t *testing.T) {
	cfg, client := anyone(t), anyone(t)
	mallory := netip.MustParseAddrPort("198.51.100.66:666")
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, cfg, Limits{})
		injected := 0
		h.network.Filter(func(d *netlab.Datagram) bool {
			// The datagram itself follows all that is injected here.
			for _, s := range shapes() {
				injected++
				go h.network.Inject(netlab.Datagram{From: mallory, To: d.To, Payload: s.data})
			}
			return true
		})
		v := h.mustVisit(t, client, clientAddr)
		if err := v.echo(t, "undisturbed"); err != nil {
			t.Error(err)
		}
		if _, _, sources := h.counts(); sources != 1 || injected < 4*266 {
			t.Errorf("%d sources after %d forged datagrams", sources, injected)
		}
	})
}

// TestHelloDoesNotDisturb sends ClientHellos from the address of a session:
// forged ones, which get no further, and those of a client that restarted,
// whose session takes over.
func TestHelloDoesNotDisturb(t *testing.T) {
	cfg, client, other := anyone(t), anyone(t), anyone(t)
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, cfg, Limits{})
		var own []byte // the ClientHello of the session
		h.network.Filter(func(d *netlab.Datagram) bool {
			if own == nil {
				own = slices.Clone(d.Payload)
			}
			return true
		})
		v := h.mustVisit(t, client, clientAddr)
		first := <-h.accepted
		h.network.Inject(netlab.Datagram{From: clientAddr, To: serverAddr, Payload: own})
		synctest.Wait()
		if halves, _, _ := h.counts(); halves != 0 {
			t.Error("a late copy of its own ClientHello begins a handshake")
		}
		for i := range 20 {
			h.network.Inject(netlab.Datagram{From: clientAddr, To: serverAddr, Payload: hello(t)})
			if err := v.echo(t, fmt.Sprint("still here ", i)); err != nil {
				t.Fatal(err)
			}
		}
		if halves, conns, _ := h.counts(); halves != 1 || conns != 1 {
			t.Errorf("%d handshakes and %d sessions", halves, conns)
		}
		time.Sleep(2 * defaultUnproven)
		if halves, conns, _ := h.counts(); halves != 0 || conns != 1 {
			t.Errorf("%d handshakes and %d sessions when the forged hello expired", halves, conns)
		}
		v.leave() // crashes
		v = h.mustVisit(t, other, clientAddr)
		if err := v.echo(t, "me again"); err != nil {
			t.Error(err)
		}
		if err := ends(t, first); !errors.Is(err, ErrReplaced) {
			t.Errorf("the old session ended with %v", err)
		}
		if halves, conns, sources := h.counts(); halves != 0 || conns != 1 || sources != 1 {
			t.Errorf("%d handshakes, %d sessions, %d sources", halves, conns, sources)
		}
	})
}

// TestRefusedRestartDoesNotDisturb: a key that is refused replaces nobody.
func TestRefusedRestartDoesNotDisturb(t *testing.T) {
	cfg, client, other := anyone(t), anyone(t), anyone(t)
	cfg.Verify = func(p Peer) error {
		if p.Key != client.Identity.Fingerprint() {
			return latchkey.ErrUnpaired
		}
		return nil
	}
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, cfg, Limits{})
		v := h.mustVisit(t, client, clientAddr)
		first := <-h.accepted
		v.leave()
		if _, err := h.visit(t, other, clientAddr); !errors.Is(err, latchkey.ErrHandshakeRefused) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		select {
		case err := <-first.done:
			t.Errorf("the session ended: %v", err)
		default:
		}
	})
}

// TestRestartInHandshake is a client that begins anew from the same port while
// its last handshake hangs.
func TestRestartInHandshake(t *testing.T) {
	cfg, client := anyone(t), anyone(t)
	for step := 1; step < 4; step++ { // how many of its datagrams got through
		synctest.Test(t, func(t *testing.T) {
			h := newHall(t, cfg, Limits{})
			hasty := client
			hasty.Timeout = 100 * time.Millisecond
			sent := 0
			h.network.Filter(func(d *netlab.Datagram) bool {
				if d.From != clientAddr {
					return sent < step
				}
				sent++
				return sent <= step
			})
			if _, err := h.visit(t, hasty, clientAddr); err == nil {
				t.Fatal("the handshake was to hang")
			}
			h.network.Filter(nil)
			start := time.Now()
			_, err := h.visit(t, client, clientAddr)
			for err != nil && time.Since(start) < 4*time.Second {
				// The server may still have repeated its flight of the old
				// handshake, which no client can tell from the new one.
				_, err = h.visit(t, client, clientAddr)
			}
			if err != nil {
				t.Errorf("step %d: %v after %v", step, err, time.Since(start))
			}
		})
	}
}

// spoof delivers a ClientHello that differs from others in its random.
func spoof(h *hall, template []byte, source netip.AddrPort, serial int) {
	b := slices.Clone(template)
	random := b[headerSize+handshakeHeader+2:]
	random[0], random[1], random[2] = byte(serial), byte(serial>>8), byte(serial>>16)
	h.Deliver(b, packet.Meta{Src: source, Dst: serverAddr.Addr(), IfIndex: 1, HopLimit: 64})
}

func TestOneHalfOpenDelaysNobody(t *testing.T) {
	cfg, client := anyone(t), anyone(t)
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, cfg, Limits{})
		spoof(h, hello(t), netip.MustParseAddrPort("198.51.100.1:1"), 0)
		start := time.Now()
		h.mustVisit(t, client, clientAddr)
		if d := time.Since(start); d != 0 {
			t.Errorf("delayed by %v", d)
		}
	})
}

// TestFloodOfForgedSources sends ClientHellos from 10,000 addresses that never
// answer. State stays within half the budget, and a client on any other
// address gets in at once, also while the flood goes on.
func TestFloodOfForgedSources(t *testing.T) {
	cfg, client, template := anyone(t), anyone(t), hello(t)
	synctest.Test(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		h := newHall(t, cfg, Limits{})
		var serial atomic.Uint32
		flood := func(n int) {
			for range n {
				i := serial.Add(1)
				source := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
				spoof(h, template, netip.AddrPortFrom(source, uint16(4000+i>>16)), int(i))
			}
		}
		flood(10000)
		halves, _, sources := h.counts()
		if halves != defaultHalfOpen/2 || sources != halves {
			t.Errorf("%d handshakes and %d sources", halves, sources)
		}
		if n := runtime.NumGoroutine() - before; n > 5*defaultHalfOpen/2 {
			t.Errorf("%d goroutines", n)
		}
		h.network.Filter(func(d *netlab.Datagram) bool {
			if d.From == clientAddr {
				go flood(500) // between any two steps of the honest client
			}
			return true
		})
		start := time.Now()
		v := h.mustVisit(t, client, clientAddr)
		if err := v.echo(t, "in spite of all"); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("delayed by %v", d)
		}
		h.network.Filter(nil)
		time.Sleep(time.Minute)
		if halves, conns, sources := h.counts(); halves != 0 || conns != 1 || sources != 1 {
			t.Errorf("%d handshakes, %d sessions, %d sources after a minute", halves, conns, sources)
		}
	})
}

// TestCookieOutlivesTheFlood returns a cookie of the flood when there is room
// again and a repeated first ClientHello has begun a handshake. The answer
// still is to begin anew.
func TestCookieOutlivesTheFlood(t *testing.T) {
	cfg, first, other := anyone(t), hello(t), hello(t)
	synctest.Test(t, func(t *testing.T) {
		var answers [][]byte
		h := newHall(t, cfg, Limits{HalfOpen: 2})
		h.Send = func(b []byte, to netip.AddrPort, _ netip.Addr) error {
			if to == clientAddr {
				answers = append(answers, slices.Clone(b))
			}
			return nil
		}
		m := packet.Meta{Src: clientAddr, Dst: serverAddr.Addr()}
		spoof(h, other, netip.MustParseAddrPort("198.51.100.1:1"), 0)
		h.Deliver(first, m)
		time.Sleep(2 * defaultUnproven)
		h.Deliver(first, m)
		synctest.Wait()
		if halves, _, _ := h.counts(); halves != 1 || len(answers) != 2 {
			t.Fatalf("%d handshakes, %d answers", halves, len(answers))
		}
		cookie := answers[0][len(answers[0])-cookieSize:]
		h.Deliver(withCookie(first, cookie), m)
		synctest.Wait()
		last := answers[len(answers)-1]
		if !bytes.Equal(last[headerSize:], []byte{alertFatal, alertUserCanceled}) {
			t.Errorf("answered %x", last)
		}
	})
}

// TestFloodFromOnePrefix: one address with many ports takes its own share.
func TestFloodFromOnePrefix(t *testing.T) {
	cfg, client, template := anyone(t), anyone(t), hello(t)
	for _, ip := range []string{"198.51.100.1", "2001:db8:0:42::1"} {
		synctest.Test(t, func(t *testing.T) {
			h := newHall(t, cfg, Limits{})
			source := netip.MustParseAddr(ip)
			for i := range 10000 {
				if source.Is6() {
					source = source.Next()
				}
				spoof(h, template, netip.AddrPortFrom(source, uint16(1+i)), i)
			}
			if halves, _, _ := h.counts(); halves != defaultPerPrefix/2 {
				t.Errorf("%d handshakes", halves)
			}
			start := time.Now()
			h.mustVisit(t, client, clientAddr)
			h.mustVisit(t, client, netip.AddrPortFrom(source, 60001)) // on the same prefix, too
			if d := time.Since(start); d != 0 {
				t.Errorf("delayed by %v", d)
			}
		})
	}
}

// TestFloodFromRealAddresses completes the address proof from many sources
// that then say no more. The budget holds, and others get in at their expense.
func TestFloodFromRealAddresses(t *testing.T) {
	limits := Limits{HalfOpen: 16, PerPrefix: 4}
	first := netip.MustParseAddr("10.0.0.1")
	for _, tt := range []struct {
		name   string
		source func(i int) netip.AddrPort
		limit  int
	}{
		{"many addresses", func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), 4000)
		}, limits.HalfOpen},
		{"one address", func(i int) netip.AddrPort { return netip.AddrPortFrom(first, uint16(1+i)) }, limits.PerPrefix},
	} {
		cfg, client := anyone(t), anyone(t)
		synctest.Test(t, func(t *testing.T) {
			h := newHall(t, cfg, limits)
			var crowd sync.WaitGroup
			for i := range 100 {
				crowd.Go(func() { h.loiter(t, client, tt.source(i)) })
			}
			time.Sleep(time.Second)
			if halves, _, _ := h.counts(); halves > tt.limit || halves < tt.limit/2 {
				t.Errorf("%s: %d handshakes", tt.name, halves)
			}
			start := time.Now()
			h.mustVisit(t, client, clientAddr)
			h.mustVisit(t, client, netip.AddrPortFrom(first, 60000)) // from the crowd's address, too
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("%s: delayed by %v", tt.name, d)
			}
			crowd.Wait()
		})
	}
}

// loiter proves an address and then goes silent for three seconds.
func (h *hall) loiter(t *testing.T, cfg Config, from netip.AddrPort) {
	host := h.network.Attach(from, packet.Config{})
	cfg.Timeout = 3 * time.Second
	hs := NewClient(cfg, func(b []byte) error {
		if r, _, ok := nextRecord(b); ok && plainMessage(messageCertificate)(r) {
			return nil
		}
		return host.Send(b, serverAddr, netip.Addr{})
	})
	done := make(chan error, 1)
	go func() { done <- host.Serve(t.Context(), hs.Deliver) }()
	_, _ = hs.Run(t.Context())
	_ = host.Close()
	<-done
}

// TestDisplacedHandshakesEnd: what loses its place frees its goroutines.
func TestDisplacedHandshakesEnd(t *testing.T) {
	cfg, template := anyone(t), hello(t)
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, cfg, Limits{})
		spoof(h, template, clientAddr, 0)
		synctest.Wait()
		one := runtime.NumGoroutine()
		for i := range 100 {
			spoof(h, template, clientAddr, 1+i)
		}
		synctest.Wait()
		if n := runtime.NumGoroutine(); n > one+20 { // other tests' last ones may still be ending
			t.Errorf("%d goroutines after 100 handshakes were displaced, %d before", n, one)
		}
		if halves, _, sources := h.counts(); halves != 1 || sources != 1 {
			t.Errorf("%d handshakes of %d sources", halves, sources)
		}
	})
}

func TestSessionsAreLimited(t *testing.T) {
	cfg, client := anyone(t), anyone(t)
	client.Timeout = 3 * time.Second
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, cfg, Limits{Sessions: 2})
		a := h.mustVisit(t, client, netip.AddrPortFrom(clientAddr.Addr(), 1))
		h.mustVisit(t, client, netip.AddrPortFrom(clientAddr.Addr(), 2))
		synctest.Wait()
		if _, err := h.visit(t, client, netip.AddrPortFrom(clientAddr.Addr(), 3)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a third session: %v", err)
		}
		a.leave()
		h.mustVisit(t, client, netip.AddrPortFrom(clientAddr.Addr(), 1)) // takes its own place
	})
	synctest.Test(t, func(t *testing.T) { // all at once
		h := newHall(t, cfg, Limits{Sessions: 2})
		var visits sync.WaitGroup
		for port := range uint16(5) {
			visits.Go(func() { _, _ = h.visit(t, client, netip.AddrPortFrom(clientAddr.Addr(), 1+port)) })
		}
		visits.Wait()
		synctest.Wait()
		if _, conns, sources := h.counts(); conns != 2 || sources != 2 || len(h.accepted) != 2 {
			t.Errorf("%d sessions of %d sources, %d accepted", conns, sources, len(h.accepted))
		}
	})
}

func TestCloseDuringHandshakes(t *testing.T) {
	cfg, template := anyone(t), hello(t)
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, cfg, Limits{})
		for i := range 10 {
			spoof(h, template, netip.AddrPortFrom(clientAddr.Addr(), uint16(i+1)), i)
		}
		start := time.Now()
		h.Close()
		if d := time.Since(start); d != 0 {
			t.Errorf("Close took %v", d)
		}
	})
}

func TestPrefixOf(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.7":            "192.0.2.7/32",
		"::ffff:192.0.2.7":     "192.0.2.7/32",
		"2001:db8:1:42ff:1::1": "2001:db8:1:4200::/56",
		"fe80::1%eth0":         "fe80::/56",
	} {
		if got := prefixOf(netip.MustParseAddr(ip)); got.String() != want {
			t.Errorf("prefixOf(%s) = %v, want %s", ip, got, want)
		}
	}
}
