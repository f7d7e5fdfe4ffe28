package packet

import (
	"net"
	"net/netip"
	"testing"
)

func TestOnLinkRules(t *testing.T) {
	prefixes := func(s ...string) (p []netip.Prefix) {
		for _, s := range s {
			p = append(p, netip.MustParsePrefix(s))
		}
		return p
	}
	links := []link{
		{index: 1, addrs: prefixes("127.0.0.1/8", "::1/128")},
		{index: 2, addrs: prefixes("192.168.1.10/24", "fe80::10/64", "2001:db8:1::10/64")},
		{index: 3, addrs: prefixes("192.168.2.10/24", "fe80::20/64")},
		{index: 4, pointToPoint: true, addrs: prefixes("10.8.0.2/24")},
		{index: 5, addrs: prefixes("10.9.0.2/0")},
	}
	gateways := []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("fe80::1")}
	tests := []struct {
		name, src, dst string
		index          int
		want           bool
	}{
		{"neighbour", "192.168.1.77", "192.168.1.10", 2, true},
		{"neighbour by IPv6", "2001:db8:1::77", "2001:db8:1::10", 2, true},
		{"neighbour by link-local", "fe80::77%eth0", "fe80::10%eth0", 2, true},
		{"mapped IPv4", "::ffff:192.168.1.77", "192.168.1.10", 2, true},
		{"far away", "198.51.100.7", "192.168.1.10", 2, false},
		{"default gateway", "192.168.1.1", "192.168.1.10", 2, false},
		{"default gateway by IPv6", "fe80::1%eth0", "fe80::10%eth0", 2, false},
		{"the machine itself", "192.168.1.10", "192.168.1.10", 2, false},
		{"the machine by its other address", "192.168.2.10", "192.168.1.10", 2, false},
		{"network of another interface", "192.168.2.77", "192.168.1.10", 2, false},
		{"address of another interface", "192.168.1.77", "192.168.2.10", 2, false},
		{"other interface", "192.168.1.77", "192.168.1.10", 3, false},
		{"interface unknown", "192.168.1.77", "192.168.1.10", 0, false},
		{"destination unknown", "192.168.1.77", "", 2, false},
		{"tunnel", "10.8.0.1", "10.8.0.2", 4, false},
		{"network of everything", "198.51.100.7", "10.9.0.2", 5, false},
		{"loopback network", "127.0.0.2", "127.0.0.1", 1, false},
		{"unspecified", "0.0.0.0", "192.168.1.10", 2, false},
		{"multicast", "224.0.0.1", "192.168.1.10", 2, false},
		{"broadcast", "255.255.255.255", "192.168.1.10", 2, false},
	}
	for _, tt := range tests {
		m := Meta{Src: netip.AddrPortFrom(netip.MustParseAddr(tt.src), 9), IfIndex: tt.index, HopLimit: 255}
		if tt.dst != "" {
			m.Dst = netip.MustParseAddr(tt.dst)
		}
		if got := onLink(m, links, gateways); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if onLink(Meta{}, links, gateways) {
		t.Error("nobody is a neighbour")
	}
}

func TestOnLinkLoopback(t *testing.T) {
	local, far := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.1")
	tests := []struct {
		src, dst netip.Addr
		bound    bool
		want     bool
	}{
		{local, local, true, true},
		{netip.IPv6Loopback(), netip.IPv6Loopback(), true, true},
		{local, local, false, false},
		{local, far, true, false},
		{local, netip.Addr{}, true, false},
	}
	for _, tt := range tests {
		m := Meta{Src: netip.AddrPortFrom(tt.src, 9), Dst: tt.dst, IfIndex: 1, HopLimit: 255, Loopback: tt.bound}
		if got := OnLink(m); got != tt.want {
			t.Errorf("OnLink(%+v) = %v", m, got)
		}
	}
}

// TestOnLinkHere asks about the addresses that this machine has: its own are
// never neighbours.
func TestOnLinkHere(t *testing.T) {
	links, err := readLinks()
	if err != nil {
		t.Fatal(err)
	}
	if len(links) == 0 {
		t.Fatal("no interface was found")
	}
	for _, l := range links {
		for _, p := range l.addrs {
			m := Meta{Src: netip.AddrPortFrom(p.Addr(), 9), Dst: p.Addr(), IfIndex: l.index, HopLimit: 255}
			if OnLink(m) {
				t.Errorf("own address %v is a neighbour", p)
			}
		}
	}
}

func TestPrefixOf(t *testing.T) {
	mask := net.CIDRMask(24, 32)
	if p, ok := prefixOf(&net.IPNet{IP: net.IPv4(192, 0, 2, 7), Mask: mask}); !ok || p.String() != "192.0.2.7/24" {
		t.Errorf("got %v, %v", p, ok)
	}
	for _, bad := range []net.Addr{
		&net.IPAddr{IP: net.IPv4(192, 0, 2, 7)},
		&net.IPNet{IP: net.IP{1, 2}, Mask: mask},
		&net.IPNet{IP: net.IPv6loopback, Mask: mask},
		&net.IPNet{IP: net.IPv4(192, 0, 2, 7), Mask: net.IPMask{255, 0, 255, 0}},
	} {
		if p, ok := prefixOf(bad); ok {
			t.Errorf("prefixOf(%v) = %v", bad, p)
		}
	}
}

func BenchmarkOnLink(b *testing.B) {
	m := Meta{Src: netip.MustParseAddrPort("192.0.2.1:9"), Dst: netip.MustParseAddr("192.0.2.2"), IfIndex: 2}
	for b.Loop() {
		OnLink(m)
	}
}
