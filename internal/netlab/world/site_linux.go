package world

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// SiteConfig describes a site.
type SiteConfig struct {
	Name string // short; empty: a, b, c ...
	Kind Kind
	// Hosts are the names of the machines; none: one named like the site.
	Hosts []string
	// LAN is the private network; zero: 10.N.0.0/24 with N the number of the
	// site from 1. A site of kind None has a public one instead.
	LAN  netip.Prefix
	V6   bool // IPv6 as well as IPv4
	NoV4 bool // no IPv4; with V6
	// NoHairpin: the router drops what a host sends to the router's own public
	// address for another host.
	NoHairpin bool
	// UDPLife is how long the router remembers a mapping that is not used;
	// zero: 120 s.
	UDPLife time.Duration
	// Wire is the conditions of the uplink, both ways; nil: it has no Wire.
	Wire *Conditions
}

// A Site is a router with its hosts.
type Site struct {
	Hosts  []*Host
	Router *Node
	Wire   *Wire // the uplink, nil if the configuration has none

	w       *World
	cfg     SiteConfig
	index   int
	carrier *Node // the carrier's router, for CGNAT
	kind    Kind
	blocked bool     // UDP
	tcpOnly []uint16 // if not empty, the only way out
	public  netip.Addr
	inside  netip.Addr // of the home router, if behind a carrier
	mask    uint16     // what the router changes in port numbers
	next    int        // number of the next host address
}

// sitePrefixes are the public networks of sites. The lower half of each is the
// uplink, the upper half a LAN without NAT.
var sitePrefixes = []netip.Prefix{
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.64/26"),
	netip.MustParsePrefix("203.0.113.128/26"),
	netip.MustParsePrefix("203.0.113.192/26"),
}

// firstHost is the number of the first host address in a LAN, and of the first
// public address of a router in its uplink; the gateway is 1.
const (
	firstHost   = 10
	firstPublic = 2
)

// nth returns address n of a network.
func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// upper returns the upper half of a network.
func upper(p netip.Prefix) netip.Prefix {
	b := p.Masked().Addr().As4()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	return netip.PrefixFrom(netip.AddrFrom4(b), p.Bits()+1)
}

func lower(p netip.Prefix) netip.Prefix { return netip.PrefixFrom(p.Addr(), p.Bits()+1) }

func (s *Site) uplink() netip.Prefix { return lower(sitePrefixes[s.index]) }

// lan returns the network of the hosts.
func (s *Site) lan() netip.Prefix {
	switch {
	case s.kind == None:
		return upper(sitePrefixes[s.index])
	case s.cfg.LAN.IsValid():
		return s.cfg.LAN
	default:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(s.index + 1), 0, 0}), 24)
	}
}

// v6 returns one of the networks of the site: 0 is the uplink, 1 the LAN, 2
// that between the carrier and the home. The site's /48 holds them all.
func (s *Site) v6(part int) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d:%d::/64", s.index+1, part))
}

// between returns the network between a carrier and the home router.
func (s *Site) between() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(s.index), 0}), 24)
}

// Public returns the IPv4 address that the internet sees the site under. It is
// the router's; hosts of a site of kind None have their own.
func (s *Site) Public() netip.Addr { return s.public }

// Kind returns the kind of the router now.
func (s *Site) Kind() Kind { return s.kind }

// edge is the router at the internet's side.
func (s *Site) edge() *Node {
	if s.carrier != nil {
		return s.carrier
	}
	return s.Router
}

// plan makes the nodes of the World known.
func (w *World) plan(cfg Config) {
	w.inet = w.node("inet")
	w.Base = &Host{Node: w.node("base")}
	wires := cfg.Wire != nil
	for i, sc := range cfg.Sites {
		if sc.Name == "" {
			sc.Name = string(rune('a' + i))
		}
		if len(sc.Hosts) == 0 {
			sc.Hosts = []string{sc.Name}
		}
		s := &Site{w: w, cfg: sc, index: i, kind: sc.Kind, next: firstHost, mask: firstMask(i), Router: w.node(sc.Name + "-router")}
		s.blocked = sc.Kind == UDPBlocked
		s.public = nth(s.uplink(), firstPublic)
		if sc.Kind == CGNAT {
			s.carrier = w.node(sc.Name + "-carrier")
			s.inside = nth(s.between(), firstPublic)
		}
		for _, name := range sc.Hosts {
			s.Hosts = append(s.Hosts, &Host{Node: w.node(name)})
		}
		wires = wires || sc.Wire != nil
		w.Sites = append(w.Sites, s)
	}
	if wires {
		w.wires = w.node("wires")
	}
}

// connect lays the cables and gives addresses and routes.
func (w *World) connect(cfg Config) {
	w.t.Helper()
	for _, n := range w.nodes {
		n.ip("link set lo up")
	}
	w.inet.sysctl("ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1")
	w.connectBase(cfg)
	for _, s := range w.Sites {
		s.connect()
	}
}

// Networks of the basestation.
var (
	basePrefix  = netip.MustParsePrefix("203.0.113.0/26")
	basePrefix6 = netip.MustParsePrefix("2001:db8::/64")
)

// Numbers of the two addresses of the basestation.
const (
	baseFirst  = 5
	baseSecond = 6
)

func (w *World) connectBase(cfg Config) {
	w.t.Helper()
	b := w.Base
	b.addr, b.second = nth(basePrefix, baseFirst), nth(basePrefix, baseSecond)
	w.Wire = w.cable(w.inet, "base", b.Node, "eth0", cfg.Wire)
	w.inet.ip("addr add %s/26 dev base\nlink set base up", nth(basePrefix, 1))
	b.ip("addr add %s/26 dev eth0\naddr add %s/26 dev eth0\nlink set eth0 up\nroute add default via %s",
		b.addr, b.second, nth(basePrefix, 1))
	if cfg.V6 {
		b.addr6, b.second6 = nth(basePrefix6, baseFirst), nth(basePrefix6, baseSecond)
		w.inet.ip("addr add %s/64 dev base", nth(basePrefix6, 1))
		b.ip("addr add %s/64 dev eth0\naddr add %s/64 dev eth0\nroute add default via %s", b.addr6, b.second6, nth(basePrefix6, 1))
	}
}

// connect joins a site to the internet and its hosts to the site.
func (s *Site) connect() {
	s.w.t.Helper()
	port := s.cfg.Name
	s.Wire = s.w.cable(s.w.inet, port, s.edge(), "wan", s.cfg.Wire)
	routers := []*Node{s.Router}
	if s.carrier != nil {
		routers = append(routers, s.carrier)
		s.w.cable(s.carrier, "lan", s.Router, "wan", nil)
	}
	for _, r := range routers {
		r.sysctl("ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1")
	}
	s.Router.bridgeOnly()
	s.Router.ip("link add lan type bridge forward_delay 0\nlink set lan up")
	inet, edge, home := []string{"link set dev " + port + " up"}, []string{"link set wan up"}, []string{}
	if s.carrier != nil {
		edge, home = append(edge, "link set lan up"), append(home, "link set wan up")
	}
	v4, v6 := s.addresses(port)
	if !s.cfg.NoV4 {
		inet, edge, home = append(inet, v4[0]...), append(edge, v4[1]...), append(home, v4[2]...)
	}
	if s.cfg.V6 {
		inet, edge, home = append(inet, v6[0]...), append(edge, v6[1]...), append(home, v6[2]...)
	}
	s.w.inet.ip("%s", strings.Join(inet, "\n"))
	if s.carrier != nil {
		s.carrier.ip("%s", strings.Join(edge, "\n"))
		s.Router.ip("%s", strings.Join(home, "\n"))
	} else {
		s.Router.ip("%s", strings.Join(append(edge, home...), "\n"))
	}
	s.load()
	for _, h := range s.Hosts {
		h.plug(s)
	}
}

// addresses returns the commands that give a site its addresses and routes, by
// family: at the internet, at the edge, and at the home router, which is the
// edge unless there is a carrier.
func (s *Site) addresses(port string) (v4, v6 [3][]string) {
	up, lan := s.uplink(), s.lan()
	v4[0] = []string{fmt.Sprintf("addr add %s/%d dev %s", nth(up, 1), up.Bits(), port)}
	v4[1] = []string{
		fmt.Sprintf("addr add %s/%d dev wan", s.public, up.Bits()),
		fmt.Sprintf("route add default via %s", nth(up, 1)),
	}
	v4[2] = []string{fmt.Sprintf("addr add %s/%d dev lan", nth(lan, 1), lan.Bits())}
	if s.kind == None {
		v4[0] = append(v4[0], fmt.Sprintf("route add %s via %s", lan, s.public))
	}
	up6, lan6, mid6 := s.v6(0), s.v6(1), s.v6(2)
	site6 := netip.PrefixFrom(up6.Addr(), 48)
	v6[0] = []string{
		fmt.Sprintf("addr add %s/64 dev %s", nth(up6, 1), port),
		fmt.Sprintf("route add %s via %s", site6, nth(up6, firstPublic)),
	}
	v6[1] = []string{
		fmt.Sprintf("addr add %s/64 dev wan", nth(up6, firstPublic)),
		fmt.Sprintf("route add default via %s", nth(up6, 1)),
	}
	v6[2] = []string{fmt.Sprintf("addr add %s/64 dev lan", nth(lan6, 1))}
	if s.carrier != nil {
		mid := s.between()
		v4[1] = append(v4[1], fmt.Sprintf("addr add %s/%d dev lan", nth(mid, 1), mid.Bits()))
		v4[2] = append(v4[2], fmt.Sprintf("addr add %s/%d dev wan", s.inside, mid.Bits()),
			fmt.Sprintf("route add default via %s", nth(mid, 1)))
		v6[1] = append(v6[1], fmt.Sprintf("addr add %s/64 dev lan", nth(mid6, 1)),
			fmt.Sprintf("route add %s via %s", lan6, nth(mid6, firstPublic)))
		v6[2] = append(v6[2], fmt.Sprintf("addr add %s/64 dev wan", nth(mid6, firstPublic)),
			fmt.Sprintf("route add default via %s", nth(mid6, 1)))
	}
	return v4, v6
}
