package packet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type arrival struct {
	text string
	meta Meta
}

// listen opens a Conn and serves it until the test ends.
func listen(t *testing.T, addr string, cfg Config) (Conn, <-chan arrival) {
	t.Helper()
	c, err := Listen(addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	arrivals := make(chan arrival, 100)
	done := make(chan error, 1)
	go func() {
		done <- c.Serve(context.Background(), func(b []byte, m Meta) { arrivals <- arrival{string(b), m} })
	}()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return c, arrivals
}

func next(t *testing.T, arrivals <-chan arrival) arrival {
	t.Helper()
	select {
	case a := <-arrivals:
		return a
	case <-time.After(10 * time.Second):
		t.Fatal("no datagram arrived")
		panic("unreachable")
	}
}

func TestListenAddresses(t *testing.T) {
	tests := []struct {
		addr string
		want []string // bound hosts
	}{
		{":0", []string{"0.0.0.0", "::"}},
		{"0.0.0.0:0", []string{"0.0.0.0"}},
		{"[::]:0", []string{"::"}},
		{"127.0.0.1:0", []string{"127.0.0.1"}},
		{"[::1]:0", []string{"::1"}},
		{"[::ffff:127.0.0.1]:0", []string{"127.0.0.1"}},
		{"localhost:0", []string{"127.0.0.1", "::1"}},
	}
	for _, tt := range tests {
		c, err := Listen(tt.addr, Config{})
		if err != nil {
			t.Errorf("Listen(%q): %v", tt.addr, err)
			continue
		}
		var hosts []string
		ports := make(map[uint16]bool)
		for _, a := range c.LocalAddrs() {
			hosts = append(hosts, a.Addr().String())
			ports[a.Port()] = true
		}
		if tt.addr == "localhost:0" { // which families it has is the machine's choice
			tt.want = slices.DeleteFunc(tt.want, func(h string) bool { return !slices.Contains(hosts, h) })
		}
		if !slices.Equal(hosts, tt.want) || len(hosts) == 0 || len(ports) != 1 || ports[0] {
			t.Errorf("Listen(%q) bound %v", tt.addr, c.LocalAddrs())
		}
		for range 2 {
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	}
}

func TestListenErrors(t *testing.T) {
	taken, _ := listen(t, "127.0.0.1:0", Config{})
	tests := []struct {
		addr string
		cfg  Config
		want string
	}{
		{"127.0.0.1", Config{}, "missing port"},
		{"127.0.0.1:ssh", Config{}, "not a number"},
		{"127.0.0.1:65536", Config{}, "not a number"},
		{"192.0.2.1:0", Config{}, "192.0.2.1"}, // not an address of this machine
		{taken.LocalAddrs()[0].String(), Config{}, "in use"},
		{"127.0.0.1:0", Config{HopLimit: 256}, "256"},
		{"127.0.0.1:0", Config{HopLimit: -1}, "-1"},
	}
	for _, tt := range tests {
		c, err := Listen(tt.addr, tt.cfg)
		if err == nil {
			t.Errorf("Listen(%q, %+v) bound %v", tt.addr, tt.cfg, c.LocalAddrs())
			_ = c.Close()
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Listen(%q): %v, want a word on %q", tt.addr, err, tt.want)
		}
	}
}

// TestMeta sends to both families of one wildcard Conn and looks at what is
// told of the datagrams.
func TestMeta(t *testing.T) {
	server, arrivals := listen(t, ":0", Config{})
	port := server.LocalAddrs()[0].Port()
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, hops := range []int{0, 7, 255} {
			client, replies := listen(t, net.JoinHostPort(host, "0"), Config{HopLimit: hops})
			dst := netip.AddrPortFrom(netip.MustParseAddr(host), port)
			if err := client.Send([]byte("ping"), dst, netip.Addr{}); err != nil {
				t.Fatal(err)
			}
			got := next(t, arrivals)
			if got.text != "ping" || got.meta.Src != client.LocalAddrs()[0] || got.meta.Loopback {
				t.Errorf("%s, hop limit %d: got %+v", host, hops, got)
			}
			checkFacts(t, got.meta, dst.Addr(), hops)
			if err := server.Send([]byte("pong"), got.meta.Src, got.meta.Dst); err != nil {
				t.Fatal(err)
			}
			if got := next(t, replies); got.text != "pong" || got.meta.Src != dst || !got.meta.Loopback {
				t.Errorf("%s: reply %+v", host, got)
			}
		}
	}
}

func TestSendWithoutSocketOfTheFamily(t *testing.T) {
	c, _ := listen(t, "127.0.0.1:0", Config{})
	if err := c.Send([]byte("x"), netip.MustParseAddrPort("[::1]:9"), netip.Addr{}); !errors.Is(err, errFamily) {
		t.Errorf("got %v", err)
	}
	mapped := netip.AddrPortFrom(netip.MustParseAddr("::ffff:127.0.0.1"), c.LocalAddrs()[0].Port())
	if err := c.Send([]byte("x"), mapped, netip.Addr{}); err != nil {
		t.Errorf("a mapped IPv4 address: %v", err)
	}
}

func TestServeEndsWithContext(t *testing.T) {
	c, err := Listen(":0", Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Serve(ctx, func([]byte, Meta) {}) }()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

// brokenConn fails every read but those that hold text.
type brokenConn struct {
	mu     sync.Mutex
	reads  []any // string or error
	always error // once reads is empty
}

func (c *brokenConn) ReadMsgUDPAddrPort(b, _ []byte) (int, int, int, netip.AddrPort, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.reads) == 0 {
		return 0, 0, 0, netip.AddrPort{}, c.always
	}
	r := c.reads[0]
	c.reads = c.reads[1:]
	if err, ok := r.(error); ok {
		return 0, 0, 0, netip.AddrPort{}, err
	}
	return copy(b, r.(string)), 0, 0, netip.MustParseAddrPort("192.0.2.1:1"), nil
}

func (c *brokenConn) WriteMsgUDPAddrPort([]byte, []byte, netip.AddrPort) (int, int, error) {
	return 0, 0, syscall.ECONNREFUSED
}
func (c *brokenConn) SetReadDeadline(time.Time) error { return nil }
func (c *brokenConn) Close() error                    { return nil }

func TestReadErrorsDoNotEndServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &brokenConn{always: net.ErrClosed}
		for range 50 {
			conn.reads = append(conn.reads, syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETDOWN, "x")
		}
		c := &udp{sockets: []*socket{newSocket(conn, netip.MustParseAddrPort("192.0.2.2:2"))}}
		count := 0
		if err := c.Serve(t.Context(), func(_ []byte, m Meta) {
			count++
			if m.Dst != netip.MustParseAddr("192.0.2.2") {
				t.Errorf("the address of a bound socket is not told: %+v", m)
			}
		}); err != nil {
			t.Errorf("Serve: %v", err)
		}
		if count != 50 {
			t.Errorf("%d of 50 datagrams survived the errors between them", count)
		}
	})
}

func TestDeadSocketIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := newSocket(&brokenConn{always: syscall.EBADF}, netip.MustParseAddrPort("192.0.2.2:2"))
		if err := s.serve(t.Context(), nil); !errors.Is(err, syscall.EBADF) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d < time.Minute || d > 2*time.Minute {
			t.Errorf("given up after %v", d)
		}
	})
}

func TestSendAllocatesNothing(t *testing.T) {
	c, _ := listen(t, ":0", Config{})
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	to := sink.LocalAddr().(*net.UDPAddr).AddrPort()
	from := netip.MustParseAddr("127.0.0.1")
	b := make([]byte, 1200)
	if n := testing.AllocsPerRun(100, func() { _ = c.Send(b, to, from) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkLoopback moves datagrams of 1200 bytes from one Conn to another.
func BenchmarkLoopback(b *testing.B) {
	server, err := Listen("127.0.0.1:0", Config{})
	if err != nil {
		b.Fatal(err)
	}
	client, err := Listen("127.0.0.1:0", Config{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	got := make(chan struct{}, 1)
	done := make(chan error)
	go func() { done <- server.Serve(ctx, func([]byte, Meta) { got <- struct{}{} }) }()
	payload := make([]byte, 1200)
	to := server.LocalAddrs()[0]
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		if err := client.Send(payload, to, netip.Addr{}); err != nil {
			b.Fatal(err)
		}
		<-got
	}
	cancel()
	if err := errors.Join(<-done, server.Close(), client.Close()); err != nil {
		b.Fatal(err)
	}
}
