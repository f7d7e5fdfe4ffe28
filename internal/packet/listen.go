package packet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

const (
	defaultBuffer = 4 << 20
	// portAttempts bounds the search for a port that is free in both families.
	portAttempts = 32
)

// errFamily reports a destination that no socket of the Conn can reach.
var errFamily = errors.New("packet: no socket for this address family")

// Listen opens UDP sockets. The address is "HOST:PORT"; an empty HOST means
// every address of the machine, with one socket for IPv4 and one for IPv6 on
// the same port, as far as the machine has both. A name is looked up and may
// yield one address of each family. Port 0 chooses a free one.
func Listen(addr string, cfg Config) (Conn, error) {
	if cfg.HopLimit < 0 || cfg.HopLimit > 255 {
		return nil, fmt.Errorf("packet: hop limit %d is not in 0 to 255", cfg.HopLimit)
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = defaultBuffer
	}
	hosts, port, err := resolve(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	for attempt := 1; ; attempt++ {
		c, err := bind(hosts, port, cfg)
		if err == nil {
			return c, nil
		}
		// With port 0 the second family may find the first one's port taken.
		if port != 0 || len(hosts) == 1 || attempt == portAttempts || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("listen on %q: %w", addr, err)
		}
	}
}

// resolve returns at most one address of each family.
func resolve(addr string) ([]netip.Addr, uint16, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, 0, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, 0, fmt.Errorf("port %q is not a number from 0 to 65535", service)
	}
	if host == "" {
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}, uint16(port), nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, uint16(port), nil
	}
	found, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip", host)
	if err != nil {
		return nil, 0, err
	}
	var v4, v6, hosts []netip.Addr
	for _, ip := range found {
		if ip = ip.Unmap(); ip.Is4() {
			v4 = append(v4, ip)
		} else {
			v6 = append(v6, ip)
		}
	}
	hosts = append(hosts, v4[:min(1, len(v4))]...)
	return append(hosts, v6[:min(1, len(v6))]...), uint16(port), nil
}

// bind opens a socket for each host on one port. Of several hosts, those whose
// family the machine lacks are left out.
func bind(hosts []netip.Addr, port uint16, cfg Config) (*udp, error) {
	c := &udp{}
	var missing error
	for _, host := range hosts {
		s, err := openSocket(netip.AddrPortFrom(host, port), cfg)
		switch {
		case err == nil:
			c.sockets = append(c.sockets, s)
			port = s.local.Port()
		case len(hosts) > 1 && lacksFamily(err):
			missing = err
		default:
			return nil, errors.Join(err, c.Close())
		}
	}
	if len(c.sockets) == 0 {
		return nil, missing
	}
	return c, nil
}

// lacksFamily reports whether a bind failed because IPv4 or IPv6 is off.
func lacksFamily(err error) bool {
	const wsaEAFNoSupport = syscall.Errno(10047)
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL) ||
		errors.Is(err, syscall.EPROTONOSUPPORT) || errors.Is(err, wsaEAFNoSupport)
}
