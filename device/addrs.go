package device

import (
	"net"
	"net/netip"

	"github.com/latchkey-dev/latchkey"
)

// PairingURL returns the URL that leads to a device with these fields, whether
// it serves or not. With port 0 in Addr it names no address before Ready told
// which one it is. The identity is made if there is none.
func (d *Device) PairingURL() (*latchkey.PairingURL, error) {
	if s, err := d.serving(); err == nil {
		return s.info().PairingURL, nil
	}
	identity, err := d.OpenIdentity()
	if err != nil {
		return nil, err
	}
	u := &latchkey.PairingURL{
		ID: d.DeviceID(identity.Fingerprint()), Key: identity.Fingerprint(),
		Basestations: d.Basestations, BasestationKey: d.BasestationKey,
	}
	addr := d.Addr
	if addr == "" {
		addr = DefaultAddr
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	number, err := net.LookupPort("udp", port)
	if err != nil || number == 0 {
		return u, err
	}
	bound := []netip.AddrPort{
		netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(number)), netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(number)),
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		bound = []netip.AddrPort{netip.AddrPortFrom(ip.Unmap(), uint16(number))}
	} else if host != "" {
		u.Addrs = []string{addr} // a name, as it was given
		return u, nil
	}
	u.Addrs = reachable(bound)
	return u, nil
}

// candidates are the addresses at which other hosts may reach the socket, on
// the networks that this machine is attached to, and on itself.
func (s *server) candidates() []netip.AddrPort {
	var list []netip.AddrPort
	for _, a := range s.sock.LocalAddrs() {
		if !a.Addr().IsUnspecified() {
			list = append(list, a)
			continue
		}
		loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if a.Addr().Is6() {
			loopback = netip.IPv6Loopback()
		}
		for _, ip := range append(hostAddrs(), loopback) {
			if ip.Is4() == a.Addr().Is4() {
				list = append(list, netip.AddrPortFrom(ip, a.Port()))
			}
		}
	}
	return list
}

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
