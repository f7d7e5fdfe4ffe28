package packet

import (
	"net"
	"net/netip"
	"slices"
)

// HostAddrs returns the unicast addresses of this machine that make sense
// elsewhere: no loopback, and no link-local ones, which need a zone.
func HostAddrs() []netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range addrs {
		if prefix, ok := prefixOf(a); ok && prefix.Addr().IsGlobalUnicast() {
			out = append(out, prefix.Addr())
		}
	}
	return out
}

// SortedHostAddrs returns HostAddrs in a fixed order, for comparison with what
// they were before.
func SortedHostAddrs() []netip.Addr {
	list := HostAddrs()
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

// Expand returns the addresses at which bound sockets are reached: wildcards are
// replaced by the addresses of this machine in their family, with loopback by
// that of the machine itself as well.
func Expand(bound []netip.AddrPort, loopback bool) []netip.AddrPort {
	hosts := HostAddrs()
	if loopback {
		hosts = append(hosts, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback())
	}
	var out []netip.AddrPort
	for _, a := range bound {
		if !a.Addr().IsUnspecified() {
			out = append(out, a)
			continue
		}
		for _, ip := range hosts {
			if ip.Is4() == a.Addr().Is4() {
				out = append(out, netip.AddrPortFrom(ip, a.Port()))
			}
		}
	}
	return out
}
