package discover

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
)

const (
	maxLinks     = 32
	maxLinkAddrs = 16
)

// A link is a network that the machine is on through one interface, as it was
// when it was looked at.
type link struct {
	ifi      net.Interface
	prefixes []netip.Prefix // the machine's addresses, with the networks they are in
}

func (l *link) loopback() bool { return l.ifi.Flags&net.FlagLoopback != 0 }

// hears reports whether a datagram from that source came over the link itself.
func (l *link) hears(from netip.Addr) bool {
	from = from.Unmap().WithZone("")
	return from.IsLinkLocalUnicast() || slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool { return p.Contains(from) })
}

// reaches reports whether an address that somebody on the link claims to have
// is one of the link.
func (l *link) reaches(a netip.Addr) bool {
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() != l.loopback() {
		return false
	}
	return l.hears(a)
}

// addrs returns those of the machine's addresses on the link that one of listen
// stands for.
func (l *link) addrs(listen []netip.AddrPort) []netip.Addr {
	var list []netip.Addr
	for _, p := range l.prefixes {
		if listens(listen, p.Addr()) {
			list = append(list, p.Addr())
		}
	}
	return list
}

func listens(listen []netip.AddrPort, a netip.Addr) bool {
	return slices.ContainsFunc(listen, func(at netip.AddrPort) bool {
		on := at.Addr().Unmap().WithZone("")
		return on == a || on.IsUnspecified() && on.Is4() == a.Is4()
	})
}

// links returns the links on which an address is wanted, sorted by interface.
// Loopback is among them if there is no other, or alone if it was asked for.
func links(loopback bool, wanted func(netip.Addr) bool) ([]*link, error) {
	ifis, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var outside, inside []*link
	for _, ifi := range ifis {
		l, ok := lookAt(ifi, wanted)
		switch {
		case !ok:
		case l.loopback():
			inside = append(inside, l)
		default:
			outside = append(outside, l)
		}
	}
	if loopback || len(outside) == 0 {
		outside = inside
	}
	slices.SortFunc(outside, func(a, b *link) int { return cmp.Compare(a.ifi.Index, b.ifi.Index) })
	return outside[:min(len(outside), maxLinks)], nil
}

// lookAt describes an interface, if multicast can be sent on it and it has an
// address that is wanted. Loopback interfaces rarely say that they can.
func lookAt(ifi net.Interface, wanted func(netip.Addr) bool) (*link, bool) {
	const up = net.FlagUp | net.FlagRunning
	if ifi.Flags&up != up || ifi.Flags&(net.FlagMulticast|net.FlagLoopback) == 0 || ifi.Flags&net.FlagPointToPoint != 0 {
		return nil, false
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil, false
	}
	l := &link{ifi: ifi}
	use := false
	for _, a := range addrs[:min(len(addrs), maxLinkAddrs)] {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		if !ok {
			continue
		}
		ip = ip.Unmap()
		ones, bits := n.Mask.Size()
		if bits == 128 && ip.Is4() {
			ones -= 96
		}
		p := netip.PrefixFrom(ip, ones)
		if !p.IsValid() {
			continue
		}
		l.prefixes = append(l.prefixes, p)
		use = use || wanted(ip)
	}
	return l, use
}
