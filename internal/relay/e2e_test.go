package relay

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// A host is a server on sockets of this machine.
type host struct {
	s        *Server
	udp      netip.AddrPort
	tcp, tls string
}

// newHost starts a server. Each tap sees the datagrams that come to it first.
func newHost(t testing.TB, ip string, cfg Config, taps ...func(s *Server, b []byte, src netip.AddrPort)) *host {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(ip)})
	if err != nil {
		t.Fatal(err)
	}
	_ = pc.SetReadBuffer(4 << 20)
	cfg.Send = func(b []byte, to netip.AddrPort) error {
		checkAnswer(t, b)
		_, err := pc.WriteToUDPAddrPort(b, to)
		return err
	}
	h := &host{udp: pc.LocalAddr().(*net.UDPAddr).AddrPort()}
	if h.s, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		b := make([]byte, 1<<16)
		for {
			k, src, err := pc.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			for _, tap := range taps {
				tap(h.s, b[:k], src)
			}
			h.s.Deliver(b[:k], src)
		}
	})
	listen := func(config *tls.Config) string {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		address := l.Addr().String()
		if config != nil {
			l = tls.NewListener(l, config)
		}
		all.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				all.Go(func() { h.s.ServeConn(conn) })
			}
		})
		return address
	}
	t.Cleanup(all.Wait)
	t.Cleanup(func() { _ = pc.Close() })
	h.tcp, h.tls = listen(nil), listen(&tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	t.Cleanup(h.s.Close) // first of all
	return h
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	id, err := latchkey.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id.TLSCertificate()
}

// dial returns a TURN client of the foreign library that uses the grant by the
// transport.
func (h *host) dial(t testing.TB, transport string, g signal.Grant) *turn.Client {
	t.Helper()
	var pc net.PacketConn
	switch transport {
	case "udp":
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: h.udp.Addr().AsSlice()})
		if err != nil {
			t.Fatal(err)
		}
		pc = conn
	case "tcp":
		conn, err := net.Dial("tcp", h.tcp)
		if err != nil {
			t.Fatal(err)
		}
		pc = turn.NewSTUNConn(conn)
	case "tls":
		conn, err := tls.Dial("tcp", h.tls, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		pc = turn.NewSTUNConn(conn)
	}
	c, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: h.udp.String(), STUNServerAddr: h.udp.String(), Conn: pc,
		Username: g.Username, Password: g.Password, RequestedAddressFamily: turn.RequestedAddressFamilyIPv4,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		_ = pc.Close()
	})
	return c
}

func (h *host) relayed(t testing.TB, transport string, g signal.Grant) net.PacketConn {
	t.Helper()
	conn, err := h.dial(t, transport, g).Allocate()
	if err != nil {
		t.Fatalf("%s: %v", transport, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if got := conn.LocalAddr().String(); got != g.Self.String() {
		t.Fatalf("relayed address %s, want %s", got, g.Self)
	}
	return conn
}

// exchange sends each payload until it arrives, and expects it unchanged.
func exchange(t *testing.T, from, to net.PacketConn, peer signal.Grant, sizes ...int) {
	t.Helper()
	got := make([]byte, 4096)
	for i, size := range sizes {
		want := append([]byte{byte(i), byte(size)}, randomBytes(size)...)
		for attempt := 0; ; attempt++ {
			if attempt == 100 {
				t.Fatalf("payload of %d bytes did not arrive", len(want))
			}
			if _, err := from.WriteTo(want, net.UDPAddrFromAddrPort(peer.Self)); err != nil {
				t.Fatal(err)
			}
			_ = to.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			n, src, err := to.ReadFrom(got)
			if err != nil || !bytes.Equal(got[:n], want) { // the peer had no permission yet, or a copy of the last one
				continue
			}
			if src.String() != peer.Peer.String() {
				t.Fatalf("received from %s, want %s", src, peer.Peer)
			}
			break
		}
	}
}

// prime makes both sides permit the other.
func prime(t *testing.T, a, b net.PacketConn, ga signal.Grant) {
	t.Helper()
	for conn, to := range map[net.PacketConn]netip.AddrPort{a: ga.Peer, b: ga.Self} {
		if _, err := conn.WriteTo([]byte("prime"), net.UDPAddrFromAddrPort(to)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBothWays(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		h := newHost(t, ip, Config{})
		for _, by := range [][2]string{{"udp", "udp"}, {"udp", "tcp"}, {"tls", "udp"}, {"tcp", "tls"}} {
			t.Run(fmt.Sprintf("%s_%s_%s", ip, by[0], by[1]), func(t *testing.T) {
				cg, dg, end, err := h.s.Grant(client, device, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				defer end()
				c, d := h.relayed(t, by[0], cg), h.relayed(t, by[1], dg)
				prime(t, c, d, cg)
				for range 3 { // Send and Data indications at first, channels later
					exchange(t, c, d, dg, 0, 1, 3, 100, 1198)
					exchange(t, d, c, cg, 0, 1, 3, 100, 1198)
				}
			})
		}
	}
}

// TestThirdSession: a session cannot reach another, whatever it asks for.
func TestThirdSession(t *testing.T) {
	h := newHost(t, "127.0.0.1", Config{})
	cg, dg, _, _ := h.s.Grant(client, device, time.Now())
	other, _, _, _ := h.s.Grant(fingerprint(3), device, time.Now())
	c, d, o := h.relayed(t, "udp", cg), h.relayed(t, "udp", dg), h.relayed(t, "tcp", other)
	prime(t, c, d, cg)
	exchange(t, c, d, dg, 10)
	for _, to := range []netip.AddrPort{cg.Self, dg.Self} {
		if _, err := o.WriteTo([]byte("intruder"), net.UDPAddrFromAddrPort(to)); err == nil {
			t.Errorf("the third session may send to %s", to)
		}
	}
	exchange(t, c, d, dg, 11)
	exchange(t, d, c, cg, 12)
}

func TestEndReachesClients(t *testing.T) {
	h := newHost(t, "127.0.0.1", Config{})
	cg, dg, end, _ := h.s.Grant(client, device, time.Now())
	c, d := h.relayed(t, "udp", cg), h.relayed(t, "tcp", dg)
	prime(t, c, d, cg)
	exchange(t, c, d, dg, 10)
	start := time.Now()
	end()
	end()
	if s := h.s.Stats(); s.Allocations != 0 || s.Grants != 0 {
		t.Fatalf("after end: %+v", s)
	}
	eventually(t, "the device's connection is closed", func() bool { return h.s.Stats().Streams == 0 })
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the end took %s", took)
	}
	if _, err := h.dial(t, "udp", cg).Allocate(); err == nil {
		t.Error("credentials work after the end")
	}
}

func TestMappedAddress(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		h := newHost(t, ip, Config{})
		for _, transport := range []string{"udp", "tcp", "tls"} {
			c := h.dial(t, transport, signal.Grant{})
			mapped, err := c.SendBindingRequest()
			if err != nil {
				t.Fatalf("%s: %v", transport, err)
			}
			if a := netip.MustParseAddrPort(mapped.String()); a.Addr().String() != ip || a.Port() == 0 {
				t.Errorf("%s: mapped address %s", transport, a)
			}
		}
	}
}
