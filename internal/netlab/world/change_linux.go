package world

import "net/netip"

// FlushMappings makes the routers of the site forget all they know of flows, as
// a reboot does. New mappings have other ports; TCP connections that crossed
// the router are lost.
func (s *Site) FlushMappings() {
	s.w.t.Helper()
	s.mask = (s.mask*37 + 1) % portBits // runs through all values
	s.load()
	s.forget()
}

// forget drops what connection tracking knows.
func (s *Site) forget() {
	s.w.t.Helper()
	s.w.run(s.Router, "", "conntrack", "-F")
	if s.carrier != nil {
		s.w.run(s.carrier, "", "conntrack", "-F")
	}
}

// SetKind makes the router another kind of NAT, which has forgotten all flows.
// From and to None the hosts change their addresses too. A site that did not
// begin as CGNAT cannot become it, nor the other way round.
func (s *Site) SetKind(k Kind) {
	s.w.t.Helper()
	if (k == CGNAT) != (s.kind == CGNAT) {
		s.w.t.Fatalf("world: from %s to %s the wiring would have to change", s.kind, k)
	}
	old, before := s.kind, s.lan()
	s.kind, s.blocked = k, k == UDPBlocked
	if (old == None) != (k == None) && !s.cfg.NoV4 {
		s.relan(before)
	}
	s.FlushMappings()
}

// relan exchanges the network of the hosts.
func (s *Site) relan(before netip.Prefix) {
	s.w.t.Helper()
	lan := s.lan()
	s.Router.ip("addr del %s/%d dev lan\naddr add %s/%d dev lan", nth(before, 1), before.Bits(), nth(lan, 1), lan.Bits())
	if s.kind == None {
		s.w.inet.ip("route add %s via %s", lan, s.public)
	} else {
		s.w.inet.ip("route del %s", before)
	}
	for _, sibling := range s.w.Sites {
		for _, h := range sibling.Hosts {
			if h.site == s {
				h.Renumber()
			}
		}
	}
}

// ChangeAddress gives the site another public IPv4 address. Flows are forgotten.
func (s *Site) ChangeAddress() {
	s.w.t.Helper()
	up, old := s.uplink(), s.public
	s.public = s.public.Next()
	if s.public == nth(up, firstHost) {
		s.public = nth(up, firstPublic)
	}
	s.edge().ip("addr del %s/%d dev wan\naddr add %s/%d dev wan\nroute replace default via %s", old, up.Bits(), s.public, up.Bits(), nth(up, 1))
	if s.kind == None {
		s.w.inet.ip("route replace %s via %s", s.lan(), s.public)
	}
	s.FlushMappings()
}

// BlockUDP drops all UDP that would cross the router, or no longer does.
func (s *Site) BlockUDP(blocked bool) {
	s.w.t.Helper()
	s.blocked = blocked
	s.load()
}

// OnlyTCP lets hosts reach nothing but these TCP ports of the internet; without
// ports, everything again.
func (s *Site) OnlyTCP(ports ...uint16) {
	s.w.t.Helper()
	s.tcpOnly = ports
	s.load()
}

// SetMTU sets the largest packet of the uplink and hides it: no router tells a
// sender that its packets are too big. 1500 is what a site begins with.
func (s *Site) SetMTU(mtu int) {
	s.w.t.Helper()
	const silence = `add table inet mtu
delete table inet mtu
table inet mtu {
	chain output { type filter hook output priority filter; policy accept;
		icmp type destination-unreachable icmp code frag-needed drop;
		icmpv6 type packet-too-big drop; }
}
`
	s.edge().nft(silence)
	s.w.inet.nft(silence)
	s.edge().ip("link set wan mtu %d", mtu)
	s.w.inet.ip("link set dev %s mtu %d", s.cfg.Name, mtu)
}
