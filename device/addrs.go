package device

import (
	"net"
	"net/netip"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/packet"
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

// reachable returns the addresses to put into a pairing URL: those that are
// bound, with wildcards replaced by the addresses of this machine that others
// can use.
func reachable(bound []netip.AddrPort) []string {
	var out []string
	for _, a := range packet.Expand(bound, false) {
		if len(out) < maxHints {
			out = append(out, a.String())
		}
	}
	return out
}

// maxHints keeps a pairing URL short enough for a QR code.
const maxHints = 6
