//go:build !linux

package packet

import (
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// controlSize holds the control messages of one datagram.
const controlSize = 256

// readControl fills m from the control messages that setOptions asked for.
func readControl(oob []byte, m *Meta) {
	if len(oob) == 0 {
		return
	}
	if m.Src.Addr().Is4() {
		var cm ipv4.ControlMessage
		if cm.Parse(oob) == nil {
			m.HopLimit, m.IfIndex = cm.TTL, cm.IfIndex
			m.Dst, _ = netip.AddrFromSlice(cm.Dst.To4())
		}
		return
	}
	var cm ipv6.ControlMessage
	if cm.Parse(oob) == nil {
		m.HopLimit, m.IfIndex = cm.HopLimit, cm.IfIndex
		m.Dst, _ = netip.AddrFromSlice(cm.Dst)
	}
}

// setBuffers asks for the sizes.
func setBuffers(conn *net.UDPConn, size int) {
	_ = conn.SetReadBuffer(size)
	_ = conn.SetWriteBuffer(size)
}
