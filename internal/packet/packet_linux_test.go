package packet

import (
	"net/netip"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// checkFacts demands what Linux tells of every datagram on the loopback
// interface.
func checkFacts(t *testing.T, m Meta, dst netip.Addr, hops int) {
	t.Helper()
	if hops == 0 {
		hops = 64
	}
	if m.Dst != dst || m.IfIndex != 1 || m.HopLimit != hops {
		t.Errorf("got %+v, want destination %v, interface 1, hop limit %d", m, dst, hops)
	}
}

// TestReplySource answers from the address that was asked, though the system
// would choose another.
func TestReplySource(t *testing.T) {
	server, arrivals := listen(t, ":0", Config{})
	client, replies := listen(t, "127.0.0.1:0", Config{})
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.9.9.9", "127.0.0.2"} {
		to := netip.AddrPortFrom(netip.MustParseAddr(host), server.LocalAddrs()[0].Port())
		if err := client.Send([]byte("ping"), to, netip.Addr{}); err != nil {
			t.Fatal(err)
		}
		got := next(t, arrivals)
		if err := server.Send([]byte("pong"), got.meta.Src, got.meta.Dst); err != nil {
			t.Fatal(err)
		}
		if reply := next(t, replies); reply.meta.Src != to {
			t.Errorf("asked at %v, answered from %v", to, reply.meta.Src)
		}
	}
}

func TestSourcesAreBounded(t *testing.T) {
	s := newSocket(&brokenConn{}, netip.MustParseAddrPort("0.0.0.0:1"))
	ip := netip.MustParseAddr("10.0.0.0")
	for range 10 * maxSources {
		ip = ip.Next()
		if len(s.source(ip)) == 0 {
			t.Fatalf("no control message for %v", ip)
		}
	}
	if len(s.sources) != maxSources {
		t.Errorf("%d control messages are kept", len(s.sources))
	}
	if s.source(netip.MustParseAddr("2001:db8::1")) != nil {
		t.Error("a source of the other family")
	}
}

func TestReadControl(t *testing.T) {
	pktinfo := sourceControl(netip.MustParseAddr("192.0.2.9"))
	pktinfo6 := sourceControl(netip.MustParseAddr("2001:db8::9"))
	ttl := make([]byte, unix.CmsgSpace(4))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&ttl[0]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_TTL
	h.SetLen(unix.CmsgLen(4))
	ttl[unix.CmsgLen(0)] = 77

	var m Meta
	both := append(append([]byte(nil), pktinfo...), ttl...)
	if n := testing.AllocsPerRun(10, func() { readControl(both, &m) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if m.Dst != netip.MustParseAddr("192.0.2.9") || m.HopLimit != 77 {
		t.Errorf("got %+v", m)
	}
	readControl(pktinfo6, &m)
	if m.Dst != netip.MustParseAddr("2001:db8::9") {
		t.Errorf("got %+v", m)
	}
	for i := range both {
		readControl(both[:i], &m) // must not panic
	}
}

func TestReadGateways(t *testing.T) {
	gateways, err := readGateways()
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range gateways {
		if !ip.IsValid() || ip.IsUnspecified() {
			t.Errorf("gateway %v", ip)
		}
	}
}

func TestAppendMultipath(t *testing.T) {
	hop := func(attrs ...byte) []byte {
		b := make([]byte, syscall.SizeofRtNexthop, 64)
		b = append(b, attrs...)
		b[0] = byte(len(b))
		return b
	}
	gateway := func(ip ...byte) []byte { return append([]byte{byte(4 + len(ip)), 0, syscall.RTA_GATEWAY, 0}, ip...) }
	via := []byte{22, 0, rtaVia, 0, 10, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0}
	list := append(hop(gateway(192, 0, 2, 1)...), hop(via...)...)
	list = append(list, hop(gateway(192, 0, 2, 2)...)...)
	got := appendMultipath(nil, list)
	want := []netip.Addr{
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1"), netip.MustParseAddr("192.0.2.2"),
	}
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("got %v, want %v", got, want)
	}
	for i := range list {
		appendMultipath(nil, list[:i]) // must not panic or loop
	}
}
