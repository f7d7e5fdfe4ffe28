package relay

import (
	"encoding/binary"
	"net/netip"
)

// Deliver takes a datagram that came to the UDP port from src and looks like
// STUN (first byte 0 to 3) or channel data (64 to 79; RFC 7983). It never waits
// and does not keep b. What is malformed, or of no use to a TURN server, is
// dropped without an answer.
func (s *Server) Deliver(b []byte, src netip.AddrPort) {
	src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
	if !src.IsValid() || src.Port() == 0 || len(b) < channelHeader || s.udp.closed() {
		return
	}
	if b[0] > 3 {
		s.udp.channelData(b, src)
		return
	}
	d := s.udp.message(b, src)
	if d == nil {
		return
	}
	queue := s.udp.strangers
	if s.exempt(s.udp, src) || s.expected(d.b[:d.n]) {
		queue = s.udp.known
	}
	select {
	case queue <- d:
	default:
		s.count.dropped.Add(1)
		d.free()
	}
}

// channelData relays a frame from src over the channel that src has bound.
func (k *socket) channelData(b []byte, src netip.AddrPort) {
	frame := channelFrame(b)
	if frame == nil {
		return
	}
	a := k.allocation(src)
	if a == nil || uint16(a.channel.Load()) != binary.BigEndian.Uint16(frame) {
		return
	}
	a.forward(frame)
}

// message answers binding requests and requests without credentials, and returns
// a copy of what the library has to answer.
func (k *socket) message(b []byte, src netip.AddrPort) *datagram {
	if !isMessage(b) {
		return nil
	}
	switch binary.BigEndian.Uint16(b) {
	case typeBinding:
		if ok, fingerprint := plain(b); ok {
			k.binding(b, src, fingerprint)
			return nil
		}
	case typeSend:
		if k.allocation(src) == nil {
			return nil
		}
	case typeAllocate, typeRefresh, typePermission, typeChannelBind:
		if k.challenges(b, src) {
			return nil
		}
	default: // responses, other indications, and the methods of RFC 6062
		return nil
	}
	d := newDatagram()
	d.src, d.n = src, copy(d.b[:], b)
	return d
}

// binding answers with the address that src has for us.
func (k *socket) binding(request []byte, src netip.AddrPort, fingerprint bool) {
	d := newDatagram()
	defer d.free()
	answer := answerBinding(d.b[:0], request, src, fingerprint)
	if k.s.affords(k, src, len(request), len(answer)) {
		_ = k.send(answer, src) // like a loss
	}
}
