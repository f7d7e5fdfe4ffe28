package packet

import (
	"net"
	"net/netip"
	"slices"
)

// OnLink reports whether the source of a datagram is a neighbour: a host on a
// network that the machine itself is attached to, as seen by the interface the
// datagram came through. It denies when unsure. In particular these are not
// neighbours:
//
//   - a gateway of any route, which may forward for others, and every source
//     on systems where the gateways cannot be read (all but Linux);
//   - the machine itself, by one of its own addresses, since a forwarder on
//     it would look the same;
//   - hosts behind point-to-point interfaces, such as tunnels;
//   - loopback sources, unless the socket is bound to a loopback address
//     (Meta.Loopback) and the datagram was sent to one.
//
// An address can be forged; who decides on it also demands a hop limit of 255
// (RFC 5082) and a handshake that came from there. Each call reads interfaces
// and routes anew, which takes a fraction of a millisecond.
func OnLink(m Meta) bool {
	if m.Src.Addr().IsLoopback() {
		return m.Loopback && m.Dst.IsLoopback()
	}
	gateways, err := readGateways()
	if err != nil {
		return false
	}
	links, err := readLinks()
	if err != nil {
		return false
	}
	return onLink(m, links, gateways)
}

// A link is one interface of the machine.
type link struct {
	index        int
	pointToPoint bool
	addrs        []netip.Prefix // the machine's own addresses with the network's length
}

// onLink decides for sources other than loopback.
func onLink(m Meta, links []link, gateways []netip.Addr) bool {
	src := m.Src.Addr().Unmap().WithZone("")
	if !src.IsGlobalUnicast() && !src.IsLinkLocalUnicast() {
		return false
	}
	if slices.Contains(gateways, src) || slices.ContainsFunc(links, func(l link) bool { return l.owns(src) }) {
		return false
	}
	for _, l := range links {
		if l.index == m.IfIndex && !l.pointToPoint && l.owns(m.Dst.WithZone("")) && l.attached(src) {
			return true
		}
	}
	return false
}

// owns reports whether ip is the machine's own address on the link.
func (l link) owns(ip netip.Addr) bool {
	return slices.ContainsFunc(l.addrs, func(p netip.Prefix) bool { return p.Addr() == ip })
}

// attached reports whether ip is in one of the link's networks.
func (l link) attached(ip netip.Addr) bool {
	return slices.ContainsFunc(l.addrs, func(p netip.Prefix) bool { return p.Bits() > 0 && p.Contains(ip) })
}

func readLinks() ([]link, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var links []link
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		l := link{index: i.Index, pointToPoint: i.Flags&net.FlagPointToPoint != 0}
		for _, a := range addrs {
			if p, ok := prefixOf(a); ok {
				l.addrs = append(l.addrs, p)
			}
		}
		links = append(links, l)
	}
	return links, nil
}

func prefixOf(a net.Addr) (netip.Prefix, bool) {
	ipnet, ok := a.(*net.IPNet)
	if !ok {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(ipnet.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, bits := ipnet.Mask.Size()
	ip = ip.Unmap()
	return netip.PrefixFrom(ip, ones), ip.BitLen() == bits
}
