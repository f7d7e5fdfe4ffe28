package route

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/pion/stun/v4"
)

// Types of STUN messages (RFC 8489, RFC 8656) that are told apart before they
// are parsed.
const (
	bindingRequest = 0x0001
	bindingSuccess = 0x0101
	bindingError   = 0x0111
	dataIndication = 0x0017
)

const (
	stunHeader  = 20
	stunCookie  = 0x2112A442
	attrHeader  = 4
	maxSTUN     = 1280 // no check is longer
	firstDTLS   = 20   // RFC 7983
	lastDTLS    = 63
	lastSTUN    = 3
	firstTURN   = 0x40 // ChannelData
	lastTURN    = 0x7F
	channelSize = 4 // header of ChannelData
)

// A transaction is the id of a STUN request and of its answer.
type transaction [stun.TransactionIDSize]byte

// isDTLS reports whether b looks like a DTLS record.
func isDTLS(b []byte) bool { return len(b) > 0 && b[0] >= firstDTLS && b[0] <= lastDTLS }

// isSTUN reports whether b looks like a STUN message.
func isSTUN(b []byte) bool {
	return len(b) >= stunHeader && b[0] <= lastSTUN && len(b)%4 == 0 &&
		binary.BigEndian.Uint32(b[4:]) == stunCookie &&
		int(binary.BigEndian.Uint16(b[2:])) == len(b)-stunHeader
}

func typeOf(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

func transactionOf(b []byte) transaction { return transaction(b[8:stunHeader]) }

// attribute returns the first attribute of the given type in a STUN message.
func attribute(b []byte, want stun.AttrType) (value []byte, ok bool) {
	for b = b[stunHeader:]; len(b) >= attrHeader; {
		size := int(binary.BigEndian.Uint16(b[2:]))
		if size > len(b)-attrHeader {
			return nil, false
		}
		if binary.BigEndian.Uint16(b) == uint16(want) {
			return b[attrHeader : attrHeader+size], true
		}
		b = b[min(attrHeader+(size+3)&^3, len(b)):]
	}
	return nil, false
}

// fragment returns the username fragment of the agent that a request is for.
func fragment(b []byte) (ufrag []byte, ok bool) {
	name, ok := attribute(b, stun.AttrUsername)
	if !ok {
		return nil, false
	}
	ufrag, _, ok = bytes.Cut(name, []byte{':'})
	return ufrag, ok
}

// authentic reports whether the message carries the integrity that only who
// knows the password can make.
func authentic(b []byte, pwd string) bool {
	m := stun.Message{Raw: bytes.Clone(b)}
	return pwd != "" && m.Decode() == nil && stun.NewShortTermIntegrity(pwd).Check(&m) == nil
}

// mappedAddress reads the answer of a STUN server.
func mappedAddress(b []byte) (netip.AddrPort, error) {
	m := stun.Message{Raw: bytes.Clone(b)}
	if err := m.Decode(); err != nil {
		return netip.AddrPort{}, err
	}
	return addressAs(&m, stun.AttrXORMappedAddress)
}

func addressAs(m *stun.Message, attr stun.AttrType) (netip.AddrPort, error) {
	var x stun.XORMappedAddress
	if err := x.GetFromAs(m, attr); err != nil {
		return netip.AddrPort{}, err
	}
	ip, ok := netip.AddrFromSlice(x.IP)
	if !ok || x.Port <= 0 || x.Port > 0xFFFF {
		return netip.AddrPort{}, errors.New("route: STUN message with a bad address")
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(x.Port)), nil
}
