package session

import (
	"net"

	"github.com/latchkey-dev/latchkey/internal/secure"
)

const (
	// aroundSCTP is what IPv6, UDP and DTLS add to an SCTP packet: 40, 8 and 37
	// bytes (RFC 8200, RFC 768, RFC 6347 with AES-GCM).
	aroundSCTP = 40 + 8 + 37
	// ethernetMTU bounds what a neighbour on a real link is sent: others on it
	// may be set to less than our own interface.
	ethernetMTU = 1500
)

// packetSize returns the largest SCTP packet for a path, 0 if it is not known.
// It is known on the link itself: no router forwarded any datagram of the
// handshake, so the interface says what the path carries. Only our own peers
// are sent more than every stack takes, and only if the session stays: one that
// roams keeps to what every path carries, but for a peer on this machine.
func packetSize(p secure.Peer, roams bool) uint32 {
	if p.ALPN != secure.Protocol || !p.HopLimit255 || p.Meta.IfIndex == 0 || roams && !p.Meta.Src.Addr().IsLoopback() {
		return 0
	}
	link, err := net.InterfaceByIndex(p.Meta.IfIndex)
	if err != nil {
		return 0
	}
	size := link.MTU
	if link.Flags&net.FlagLoopback == 0 {
		size = min(size, ethernetMTU)
	}
	return uint32(max(0, min(size-aroundSCTP, secure.MaxPayload)))
}
