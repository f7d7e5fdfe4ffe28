package relay

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// special are addresses that a relay must not reach, out of the registries of
// special-purpose addresses (RFC 6890), and what stands in for the operator's.
var special = []string{
	"0.0.0.0", "0.0.0.1", "0.255.255.255", "10.0.0.0", "10.0.0.1", "10.255.255.255",
	"100.64.0.0", "100.64.0.1", "100.127.255.255", "127.0.0.0", "127.0.0.1", "127.0.0.53",
	"127.1.1.1", "127.255.255.255", "169.254.0.1", "169.254.169.253", "169.254.169.254", "169.254.170.2",
	"169.254.255.255", "172.16.0.1", "172.17.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.8",
	"192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.171", "192.0.0.192", "192.0.2.1",
	"192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.168.1.1", "192.168.255.255",
	"192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.5", "224.0.0.1",
	"224.0.0.251", "224.0.1.1", "232.0.0.1", "233.252.0.1", "239.255.255.250", "239.255.255.255",
	"240.0.0.0", "240.0.0.1", "247.1.2.3", "254.255.255.255", "255.0.0.1", "255.255.255.255",
	"100.100.100.200", "168.63.129.16", "8.8.8.8", "1.1.1.1",
}

// only6 have no IPv4 address inside.
var only6 = []string{
	"::", "::1", "::2", "100::", "100::1", "2001::1", "2001:1::1", "2001:1::2", "2001:2::1", "2001:3::1",
	"2001:4:112::1", "2001:10::1", "2001:20::1", "2001:30::1", "2001:db8::1", "2620:4f:8000::1", "3fff::1",
	"5f00::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fd12:3456:789a::1", "fe80::1", "fe80::a9fe:a9fe",
	"fec0::1", "ff01::1", "ff02::1", "ff02::2", "ff02::fb", "ff05::1:3", "ff0e::1", "2606:4700::1111",
}

// spellings of an IPv4 address as IPv6 addresses: mapped, compatible,
// translated, NAT64 (also with a local prefix), 6to4, ISATAP, Teredo.
func spellings(a netip.Addr) map[string]netip.Addr {
	b := a.As4()
	hi, lo := uint16(b[0])<<8|uint16(b[1]), uint16(b[2])<<8|uint16(b[3])
	all := map[string]netip.Addr{}
	for _, format := range []string{
		"::ffff:%x:%x", "::%x:%x", "::ffff:0:%x:%x", "64:ff9b::%x:%x", "64:ff9b:1::%x:%x", "2002:%x:%x::",
		"fe80::5efe:%x:%x", "fe80::200:5efe:%x:%x",
	} {
		s := fmt.Sprintf(format, hi, lo)
		all[s] = netip.MustParseAddr(s)
	}
	s := fmt.Sprintf("2001:0:4136:e378:8000:63bf:%x:%x", ^hi, ^lo)
	all[s] = netip.MustParseAddr(s)
	return all
}

func addresses(self, peer netip.Addr) map[string]netip.Addr {
	all := map[string]netip.Addr{}
	for _, s := range append(special, self.String(), peer.Next().String(), peer.Prev().String()) {
		a := netip.MustParseAddr(s)
		all[s] = a
		for name, a := range spellings(a) {
			all[name] = a
		}
	}
	for name, a := range spellings(peer) {
		all[name] = a
	}
	for _, s := range only6 {
		all[s] = netip.MustParseAddr(s)
	}
	return all
}

// TestNoOtherPeer: whatever the address and its spelling, a session reaches its
// own peer only.
func TestNoOtherPeer(t *testing.T) {
	n := newNet(t, Config{})
	c, d, _ := n.session(0)
	otherC, otherD, _ := n.session(0)
	for _, p := range []*peer{d, otherC, otherD} {
		if code := p.permit(p.grant.Peer); code != 0 {
			t.Fatalf("CreatePermission answered %d", code)
		}
	}
	all := addresses(c.grant.Self.Addr(), c.grant.Peer.Addr())
	all["name of another session's client"] = otherC.grant.Self.Addr()
	all["name of another session's device"] = otherD.grant.Self.Addr()
	if len(all) < 200 {
		t.Fatalf("only %d addresses", len(all))
	}
	refused := map[int]int{}
	number := uint16(0x4000)
	for name, a := range all {
		to := netip.AddrPortFrom(a, c.grant.Peer.Port())
		want := 403
		if a.Is6() && !a.Is4In6() {
			want = 443 // another family than that of the relayed address: RFC 8656 sections 10.2, 12.2
		}
		if code := c.permit(to); code != want {
			t.Errorf("permission for %s answered %d, want %d", name, code, want)
		}
		if code := c.permit(c.grant.Peer, to); code != want {
			t.Errorf("permission for the peer and %s answered %d, want %d", name, code, want)
		}
		if code := c.bind(number, to); code != want {
			t.Errorf("channel to %s answered %d, want %d", name, code, want)
		}
		refused[want]++
		before := n.bytes()
		c.indicate(to, []byte("out"))
		c.channelData(number, []byte("out"))
		if code := c.permit(to); code != want { // after the indication was handled
			t.Errorf("permission for %s answered %d, want %d", name, code, want)
		}
		if sent := n.bytes() - before; sent != stunHeader+8+24 {
			t.Errorf("%d bytes left towards %s", sent, name)
		}
		number++
	}
	t.Logf("%d spellings refused: %v", len(all), refused)
	if s := n.s.Stats(); s.Packets != 0 || n.stray != 0 {
		t.Errorf("%d packets relayed, %d sent to nobody", s.Packets, n.stray)
	}
	for _, p := range []*peer{d, otherC, otherD} {
		if b := p.next(0); b != nil {
			t.Errorf("%s received %d bytes", p.src, len(b))
		}
	}
}

// TestPortIsPartOfTheName: a permission is for an address (RFC 8656 section 9),
// but nothing is relayed to another port of it and no channel leads there.
func TestPortIsPartOfTheName(t *testing.T) {
	n := newNet(t, Config{})
	c, d, _ := n.session(0)
	other := netip.AddrPortFrom(c.grant.Peer.Addr(), c.grant.Peer.Port()^1)
	if code := d.permit(d.grant.Peer); code != 0 {
		t.Fatalf("CreatePermission answered %d", code)
	}
	if code := c.permit(other); code != 0 {
		t.Errorf("permission answered %d", code)
	}
	if code := c.bind(0x4000, other); code != 403 {
		t.Errorf("channel to another port answered %d, want 403", code)
	}
	c.indicate(other, []byte("wrong"))
	c.indicate(c.grant.Peer, []byte("right"))
	b := d.next(2 * time.Second)
	m := &stun.Message{Raw: b}
	if b == nil || m.Decode() != nil {
		t.Fatal("nothing came by the right port")
	}
	if v, _ := m.Get(stun.AttrData); string(v) != "right" {
		t.Errorf("received %q", v)
	}
}
