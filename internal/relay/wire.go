package relay

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"github.com/pion/stun/v4"
)

// The wire formats that are read and written here, so that they cost little:
// the STUN header (RFC 8489 section 5), attribute headers (section 14),
// binding answers, and channel data (RFC 8656 section 12.4).
const (
	stunHeader    = 20
	channelHeader = 4
	magicCookie   = 0x2112A442

	typeBinding        = 0x0001 // requests
	typeAllocate       = 0x0003
	typeRefresh        = 0x0004
	typePermission     = 0x0008
	typeChannelBind    = 0x0009
	typeSend           = 0x0016 // indication
	typeBindingSuccess = 0x0101
	typeChannelError   = 0x0119

	typeAllocateSuccess = 0x0103
	typeRefreshSuccess  = 0x0104

	responseBit = 0x0100
	errorBits   = 0x0110

	attributeUsername    = 0x0006
	attributeIntegrity   = 0x0008
	attributeError       = 0x0009
	attributeLifetime    = 0x000d
	attributePeer        = 0x0012
	attributeRealm       = 0x0014
	attributeNonce       = 0x0015
	attributeMapped      = 0x0020
	attributeFingerprint = 0x8028

	methodAllocate = stun.MethodAllocate
)

// A datagram is a message that waits.
type datagram struct {
	src netip.AddrPort
	n   int
	b   [maxMessage]byte
}

var datagrams = sync.Pool{New: func() any { return new(datagram) }}

func newDatagram() *datagram { return datagrams.Get().(*datagram) }
func (d *datagram) free()    { datagrams.Put(d) }

// isMessage reports whether b is one whole STUN message of a size that we take.
func isMessage(b []byte) bool {
	return len(b) >= stunHeader && len(b) <= maxMessage && len(b)%4 == 0 &&
		int(binary.BigEndian.Uint16(b[2:])) == len(b)-stunHeader &&
		binary.BigEndian.Uint32(b[4:]) == magicCookie
}

// attributes calls f for each attribute of a message until f returns false. It
// returns false if the attributes are malformed.
func attributes(m []byte, f func(kind uint16, value []byte) bool) bool {
	for b := m[stunHeader:]; len(b) > 0; {
		if len(b) < 4 {
			return false
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		padded := (n + 3) &^ 3
		if len(b)-4 < padded {
			return false
		}
		if !f(binary.BigEndian.Uint16(b), b[4:4+n]) {
			return true
		}
		b = b[4+padded:]
	}
	return true
}

// peerPort returns the port of the message's XOR-PEER-ADDRESS; 0 if it has none
// or several.
func peerPort(m []byte) (port uint16) {
	found := 0
	attributes(m, func(kind uint16, v []byte) bool {
		if kind == attributePeer && len(v) >= 4 {
			found++
			port = binary.BigEndian.Uint16(v[2:]) ^ magicCookie>>16
		}
		return true
	})
	if found != 1 {
		return 0
	}
	return port
}

// plain reports whether nothing in a binding request has to be understood
// (RFC 8489 section 14: attributes below 0x8000 have to), and whether it ends
// with a fingerprint.
func plain(request []byte) (ok, fingerprint bool) {
	required := false
	ok = attributes(request, func(kind uint16, _ []byte) bool {
		required = required || kind < 0x8000
		fingerprint = kind == attributeFingerprint
		return true
	})
	return ok && !required, fingerprint
}

// answerBinding appends the answer to a binding request from src.
func answerBinding(b, request []byte, src netip.AddrPort, fingerprint bool) []byte {
	ip := src.Addr().Unmap().AsSlice()
	size, family := uint16(8), byte(1)
	if len(ip) > 4 {
		size, family = 20, 2
	}
	total := size + 4
	if fingerprint {
		total += 8
	}
	b = binary.BigEndian.AppendUint16(b, typeBindingSuccess)
	b = binary.BigEndian.AppendUint16(b, total)
	b = append(b, request[4:stunHeader]...)
	b = binary.BigEndian.AppendUint16(b, attributeMapped)
	b = binary.BigEndian.AppendUint16(b, size)
	b = append(b, 0, family)
	b = binary.BigEndian.AppendUint16(b, src.Port()^magicCookie>>16)
	for i := range ip {
		b = append(b, ip[i]^request[4+i])
	}
	if fingerprint {
		sum := stun.FingerprintValue(b)
		b = binary.BigEndian.AppendUint16(b, attributeFingerprint)
		b = binary.BigEndian.AppendUint16(b, 4)
		b = binary.BigEndian.AppendUint32(b, sum)
	}
	return b
}

// channelFrame returns the frame at the start of b without what follows it,
// which over UDP may be padding; nil if there is no whole one, or one that we
// do not relay.
func channelFrame(b []byte) []byte {
	if len(b) < channelHeader || b[0]&0xF0 != 0x40 {
		return nil
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n > maxPayload || n > len(b)-channelHeader {
		return nil
	}
	return b[:channelHeader+n]
}
