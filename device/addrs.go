package device

import (
	"net"
	"net/netip"
)

// reachable returns the addresses to put into a pairing URL: those that are
// bound, with wildcards replaced by the addresses of this machine that others
// can use.
func reachable(bound []netip.AddrPort) []string {
	var out []string
	for _, a := range bound {
		if !a.Addr().IsUnspecified() {
			out = append(out, a.String())
			continue
		}
		for _, ip := range hostAddrs() {
			if ip.Is4() == a.Addr().Is4() && len(out) < maxHints {
				out = append(out, netip.AddrPortFrom(ip, a.Port()).String())
			}
		}
	}
	return out
}

// maxHints keeps a pairing URL short enough for a QR code.
const maxHints = 6

// hostAddrs returns the unicast addresses of this machine that make sense
// elsewhere: no loopback, and no link-local ones, which need a zone.
func hostAddrs() []netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range addrs {
		prefix, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(prefix.IP)
		if ip = ip.Unmap(); ok && ip.IsGlobalUnicast() {
			out = append(out, ip)
		}
	}
	return out
}
