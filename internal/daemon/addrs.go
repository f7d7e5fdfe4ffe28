package daemon

import (
	"net"
	"net/netip"
	"strconv"
)

// maxHints keeps a pairing URL short enough for a QR code.
const maxHints = 6

// configuredAddrs is where a daemon with this listen address would be found: the
// wildcard stands for the addresses of this machine. Port 0 is nowhere yet.
func configuredAddrs(listen string) []string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) {
		return []string{listen}
	}
	number, err := net.LookupPort("udp", port)
	if err != nil {
		return nil
	}
	return hostAddrs(strconv.Itoa(number))
}

// hostAddrs returns the addresses of this machine that make sense elsewhere.
func hostAddrs(port string) []string {
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var addrs []string
	for _, a := range found {
		prefix, ok := a.(*net.IPNet)
		if ok && prefix.IP.IsGlobalUnicast() && len(addrs) < maxHints {
			addrs = append(addrs, net.JoinHostPort(prefix.IP.String(), port))
		}
	}
	return addrs
}
