package packet

import (
	"context"
	"net/netip"
)

// MaxDatagram is the largest payload of a UDP datagram, in bytes.
const MaxDatagram = 65535 - 8

// Meta is what is known of a received datagram beside its bytes. Its values
// come from the operating system, never from the peer's own words.
type Meta struct {
	Src      netip.AddrPort // who sent it, IPv4 unmapped
	Dst      netip.Addr     // our address it was sent to; zero if unknown
	IfIndex  int            // index of the interface it came through; 0 if unknown
	HopLimit int            // received TTL or hop limit; 0 if unknown
	Loopback bool           // the socket it came through is bound to a loopback address
}

// Config is what a socket can be told. Its zero value is the default.
type Config struct {
	// HopLimit is the TTL or hop limit of outgoing datagrams, 1 to 255; 0 is
	// the system's. Who wants to be recognised as a neighbour sends with 255,
	// the value that no datagram from behind a router can have (RFC 5082).
	HopLimit int
	// Buffer is the size of each socket's send and receive buffer in bytes;
	// 0 is 4 MiB. The system may grant less.
	Buffer int
}

// A Conn sends and receives datagrams. Its methods are safe for concurrent use.
type Conn interface {
	// Serve calls h with each datagram that arrives, until ctx ends or the
	// Conn is closed; then it returns nil, after its last goroutine. It calls
	// h from several goroutines at once, one for each socket. The bytes are
	// valid during the call only, and h must not block. An ICMP error that the
	// system reports on a socket is not an end. Serve is called once.
	Serve(ctx context.Context, h func(b []byte, m Meta)) error
	// Send sends one datagram. The source address is from, the Meta.Dst of
	// what it answers; a zero from lets the system choose. An error means that
	// this datagram was not sent, and says nothing about the next.
	Send(b []byte, to netip.AddrPort, from netip.Addr) error
	// LocalAddrs returns the bound addresses. The address of a wildcard socket
	// is the unspecified one, 0.0.0.0 or ::.
	LocalAddrs() []netip.AddrPort
	// Close ends Serve and frees the sockets. It may be called again.
	Close() error
}
