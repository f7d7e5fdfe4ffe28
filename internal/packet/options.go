package packet

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// setOptions asks for the facts that fill Meta. A system that does not tell
// one leaves its field zero; only the outgoing hop limit is a promise.
func setOptions(conn *net.UDPConn, v4 bool, cfg Config) error {
	setBuffers(conn, cfg.Buffer)
	setHopLimit := func() error { return ipv6.NewPacketConn(conn).SetHopLimit(cfg.HopLimit) }
	if v4 {
		p := ipv4.NewPacketConn(conn)
		for _, flag := range []ipv4.ControlFlags{ipv4.FlagTTL, ipv4.FlagDst, ipv4.FlagInterface} {
			_ = p.SetControlMessage(flag, true)
		}
		setHopLimit = func() error { return p.SetTTL(cfg.HopLimit) }
	} else {
		p := ipv6.NewPacketConn(conn)
		for _, flag := range []ipv6.ControlFlags{ipv6.FlagHopLimit, ipv6.FlagDst, ipv6.FlagInterface} {
			_ = p.SetControlMessage(flag, true)
		}
	}
	if cfg.HopLimit == 0 {
		return nil
	}
	if err := setHopLimit(); err != nil {
		return fmt.Errorf("set hop limit: %w", err)
	}
	return nil
}

// sourceControl returns the control message for datagrams from an address, or
// nothing on systems where the source cannot be chosen.
func sourceControl(from netip.Addr) []byte {
	if from.Is4() {
		return (&ipv4.ControlMessage{Src: from.AsSlice()}).Marshal()
	}
	return (&ipv6.ControlMessage{Src: from.AsSlice()}).Marshal()
}
