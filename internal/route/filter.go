package route

import (
	"net/netip"
	"slices"
)

// A filter decides which addresses a route uses. A peer can name any address
// as its own, and each check is a datagram that we send there, so an address
// that no peer can have is refused.
type filter struct {
	loopback bool             // loopback addresses are wanted, for tests
	own      []netip.AddrPort // of our socket
}

// firstPort is the lowest port that ordinary programs and NATs use.
const firstPort = 1024

// webPort is the one below it that peers listen on, because firewalls let it
// through.
const webPort = 443

// answering are ports from firstPort on whose services answer strangers: SSDP,
// WS-Discovery, NAT-PMP, mDNS, memcached.
var answering = []uint16{1900, 3702, 5350, 5351, 5353, 11211}

var (
	linkLocal4 = netip.MustParsePrefix("169.254.0.0/16")
	refused    = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),          // this network, RFC 1122
		netip.MustParsePrefix("240.0.0.0/4"),        // reserved, and limited broadcast
		netip.MustParsePrefix("169.254.169.254/32"), // configuration of virtual machines
		netip.MustParsePrefix("fd00:ec2::254/128"),  // the same in IPv6
		netip.MustParsePrefix("::/96"),              // IPv4-compatible, RFC 4291
		netip.MustParsePrefix("fec0::/10"),          // site-local, RFC 3879
		netip.MustParsePrefix("64:ff9b:1::/48"),     // translators of one site, RFC 8215
	}

	// Datagrams to these go on to an IPv4 address that is written in them.
	translated = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixToFour  = netip.MustParsePrefix("2002::/16")    // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")    // RFC 4380

	// unreachable are IPv4 addresses that no IPv6 address may stand for, beside
	// those that are private or refused.
	unreachable = []netip.Prefix{
		linkLocal4,
		netip.MustParsePrefix("100.64.0.0/10"), // behind a provider's NAT, RFC 6598
		netip.MustParsePrefix("192.0.0.0/24"),  // protocols, RFC 6890
		netip.MustParsePrefix("198.18.0.0/15"), // measurements, RFC 2544
	}
)

// Plausible reports whether a host that we do not know may have the address a,
// as a peer or as a STUN server; loopback ones only where they are wanted.
func Plausible(a netip.AddrPort, loopback bool) bool { return filter{loopback: loopback}.remote(a) }

// remote reports whether a peer may have the address a.
func (f filter) remote(a netip.AddrPort) bool {
	ip := a.Addr()
	switch {
	case !ip.IsValid(), ip.Is4In6(), ip.Zone() != "":
		return false
	case slices.Contains(f.own, a):
		return false
	case a.Port() < firstPort && a.Port() != webPort, slices.Contains(answering, a.Port()):
		return false
	case ip.IsLoopback():
		return f.loopback
	case linkLocal4.Contains(ip):
		return !inAny(refused, ip) && slices.ContainsFunc(f.own, func(o netip.AddrPort) bool { return linkLocal4.Contains(o.Addr()) })
	}
	return general(ip)
}

// local reports whether a can be one of our own candidates.
func (f filter) local(a netip.AddrPort) bool {
	ip := a.Addr()
	switch {
	case !ip.IsValid(), ip.Is4In6(), ip.Zone() != "", a.Port() == 0:
		return false
	case ip.IsLoopback():
		return f.loopback
	case linkLocal4.Contains(ip):
		return true
	}
	return general(ip)
}

// general reports whether hosts of other networks may have the address.
func general(ip netip.Addr) bool {
	if v4, ok := embedded(ip); ok {
		return v4.IsGlobalUnicast() && !v4.IsPrivate() && !inAny(refused, v4) && !inAny(unreachable, v4)
	}
	return ip.IsGlobalUnicast() && !inAny(refused, ip)
}

// embedded returns the IPv4 address that datagrams to an IPv6 address go to in
// the end.
func embedded(ip netip.Addr) (netip.Addr, bool) {
	b := ip.As16()
	switch {
	case translated.Contains(ip):
		return netip.AddrFrom4([4]byte(b[12:])), true
	case sixToFour.Contains(ip):
		return netip.AddrFrom4([4]byte(b[2:])), true
	case teredo.Contains(ip):
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	}
	return netip.Addr{}, false
}

func inAny(prefixes []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
}
