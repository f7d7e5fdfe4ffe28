package world

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// defaultUDPLife is how long routers remember an idle mapping.
const defaultUDPLife = 120 * time.Second

// Routers with endpoint-independent mapping exchange some of the low ten bits
// of a port number, so that nobody finds a peer by guessing that the port stays
// the same, and a router that has forgotten its mappings makes others. Which
// bits depends on the host too: two hosts may send from the same port.
const (
	portBits    = 1 << 10
	hostClasses = 16 // by the last bits of the address
	classStep   = portBits / hostClasses
)

func firstMask(site int) uint16 { return uint16(0x155+0x44*site) % portBits }

// load gives the routers of the site the rules that it should have now.
func (s *Site) load() {
	s.w.t.Helper()
	home := &rules{site: s, kind: s.kind, addr: s.public, inside: s.lan(), mask: s.mask}
	if s.carrier != nil {
		home.addr, home.kind = s.inside, PortRestricted
		s.carrier.nft((&rules{site: s, kind: PortRestricted, addr: s.public, inside: s.between(), mask: (5*s.mask + 3) % portBits, plain: true}).String())
		s.timeouts(s.carrier)
	}
	s.Router.nft(home.String())
	s.timeouts(s.Router)
}

// timeouts sets how long connection tracking remembers, and that it takes no
// TCP connection that it has not seen from the start.
func (s *Site) timeouts(router *Node) {
	s.w.t.Helper()
	if s.kind == None {
		return
	}
	life := strings.TrimSuffix(s.lifeText(), "s")
	router.sysctl("netfilter.nf_conntrack_udp_timeout="+life, "netfilter.nf_conntrack_udp_timeout_stream="+life,
		"netfilter.nf_conntrack_tcp_loose=0", "netfilter.nf_conntrack_tcp_be_liberal=1")
}

// lifeText is how long the router remembers, in whole seconds.
func (s *Site) lifeText() string {
	life := s.cfg.UDPLife
	if life <= 0 {
		life = defaultUDPLife
	}
	return fmt.Sprintf("%ds", max(1, int(life.Seconds())))
}

// rules are those of one router.
type rules struct {
	site   *Site
	kind   Kind
	addr   netip.Addr   // of the router's interface wan
	inside netip.Prefix // the network of its interface lan
	mask   uint16
	plain  bool // the carrier's: nothing is blocked
}

// String returns the rules for nft. They replace those loaded before in one
// transaction.
func (r *rules) String() string {
	return "add table ip nat\ndelete table ip nat\nadd table inet filter\ndelete table inet filter\n" + r.nat() + r.filter()
}

// nat is the mapping. With endpoint-independent mapping a map remembers, by
// outer port, who has it; it learns before the source is rewritten, from every
// datagram. Chains of type nat see only the first datagram of a flow, and the
// prerouting chain must be there for answers to be translated back.
func (r *rules) nat() string {
	switch {
	case r.kind == None:
		return ""
	case r.kind == Symmetric:
		return `table ip nat {
	chain pre { type nat hook prerouting priority dstnat; policy accept; }
	chain post { type nat hook postrouting priority srcnat; policy accept;
		oifname "wan" masquerade fully-random; }
}
`
	}
	var learn, hairpin, out strings.Builder
	for class := range hostClasses {
		mask := r.mask ^ uint16(class*classStep)
		from := fmt.Sprintf("ip saddr & 0.0.0.%d == 0.0.0.%d meta l4proto udp", hostClasses-1, class)
		fmt.Fprintf(&learn, "\t\toifname \"wan\" %s update @owner { udp sport ^ %d timeout %s : ip saddr . udp sport };\n", from, mask, r.site.lifeText())
		fmt.Fprintf(&hairpin, "\t\tct status dnat oifname \"lan\" ip saddr %s %s snat to %s:udp sport ^ %d;\n", r.inside.Masked(), from, r.addr, mask)
		fmt.Fprintf(&out, "\t\toifname \"wan\" %s snat to %s:udp sport ^ %d;\n", from, r.addr, mask)
	}
	return fmt.Sprintf(`table ip nat {
	map owner { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout %[1]s; size 65536; }
	chain pre { type nat hook prerouting priority dstnat; policy accept;
		ip daddr %[2]s meta l4proto udp dnat to udp dport map @owner; }
	chain learn { type filter hook postrouting priority 90; policy accept;
%[3]s	}
	chain post { type nat hook postrouting priority srcnat; policy accept;
%[4]s%[5]s		oifname "wan" snat to %[2]s; }
}
`, r.site.lifeText(), r.addr, learn.String(), hairpin.String(), out.String())
}

// filter is what passes. The router itself takes no UDP from outside: a flow
// that began there would keep its port from the host that the port belongs to.
func (r *rules) filter() string {
	var forward []string
	add := func(format string, args ...any) { forward = append(forward, fmt.Sprintf(format, args...)) }
	if r.site.blocked && !r.plain {
		add(`meta l4proto udp drop`)
	}
	if len(r.site.tcpOnly) > 0 && !r.plain {
		ports := strings.Trim(strings.ReplaceAll(fmt.Sprint(r.site.tcpOnly), " ", ", "), "[]")
		add(`oifname "wan" meta l4proto != tcp drop`)
		add(`oifname "wan" tcp dport != { %s } drop`, ports)
	}
	if r.site.cfg.NoHairpin {
		add(`iifname "lan" oifname "lan" ct status dnat drop`)
	}
	if r.kind == AddressRestricted {
		add(`oifname "wan" meta l4proto udp update @peer { ip saddr . udp sport . ip daddr }`)
		add(`iifname "wan" meta l4proto udp ip daddr . udp dport . ip saddr @peer accept`)
	}
	if r.kind == FullCone {
		add(`iifname "wan" meta nfproto ipv4 meta l4proto udp ct status dnat accept`)
	}
	input := ""
	if r.kind != None {
		add(`oifname "wan" ct state invalid drop`)
		add(`iifname "wan" ct state established,related accept`)
		add(`iifname "wan" drop`)
		input = `iifname "wan" meta l4proto udp drop;`
	}
	return fmt.Sprintf(`table inet filter {
	set peer { type ipv4_addr . inet_service . ipv4_addr; flags dynamic,timeout; timeout %s; size 65536; }
	chain input { type filter hook input priority filter; policy accept; %s }
	chain forward { type filter hook forward priority filter; policy accept;
		%s
	}
}
`, r.site.lifeText(), input, strings.Join(forward, "\n\t\t"))
}
