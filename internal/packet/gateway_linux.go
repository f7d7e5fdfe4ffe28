package packet

import (
	"encoding/binary"
	"net/netip"
	"syscall"
)

const rtaVia = 0x12 // RTA_VIA of rtnetlink(7): a gateway of another family

// readGateways returns every next hop in every routing table.
func readGateways() ([]netip.Addr, error) {
	dump, err := syscall.NetlinkRIB(syscall.RTM_GETROUTE, syscall.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	messages, err := syscall.ParseNetlinkMessage(dump)
	if err != nil {
		return nil, err
	}
	var gateways []netip.Addr
	for i := range messages {
		if messages[i].Header.Type != syscall.RTM_NEWROUTE {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(&messages[i])
		if err != nil {
			return nil, err
		}
		for _, a := range attrs {
			if a.Attr.Type == syscall.RTA_MULTIPATH {
				gateways = appendMultipath(gateways, a.Value)
			} else {
				gateways = appendGateway(gateways, a.Attr.Type, a.Value)
			}
		}
	}
	return gateways, nil
}

// appendMultipath reads a list of struct rtnexthop, each followed by its own
// attributes.
func appendMultipath(gateways []netip.Addr, b []byte) []netip.Addr {
	for len(b) >= syscall.SizeofRtNexthop {
		size := int(binary.NativeEndian.Uint16(b))
		if size < syscall.SizeofRtNexthop || size > len(b) {
			break
		}
		attrs := b[syscall.SizeofRtNexthop:size]
		for len(attrs) >= syscall.SizeofRtAttr {
			n := int(binary.NativeEndian.Uint16(attrs))
			if n < syscall.SizeofRtAttr || n > len(attrs) {
				break
			}
			gateways = appendGateway(gateways, binary.NativeEndian.Uint16(attrs[2:]), attrs[syscall.SizeofRtAttr:n])
			attrs = attrs[min(align4(n), len(attrs)):]
		}
		b = b[min(align4(size), len(b)):]
	}
	return gateways
}

func appendGateway(gateways []netip.Addr, attr uint16, value []byte) []netip.Addr {
	switch {
	case attr == rtaVia && len(value) > 2:
		value = value[2:] // after the address family
	case attr != syscall.RTA_GATEWAY:
		return gateways
	}
	if ip, ok := netip.AddrFromSlice(value); ok {
		return append(gateways, ip)
	}
	return gateways
}

func align4(n int) int { return (n + 3) &^ 3 }
