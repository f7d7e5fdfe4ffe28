package packet

import (
	"net/netip"
	"testing"
)

func TestSwitch(t *testing.T) {
	var s Switch
	record := []byte{22}
	a, b := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.1:2")
	if s.Deliver(record, Meta{Src: a}) {
		t.Error("an empty switch takes datagrams")
	}
	var first, second int
	leaveFirst := s.Register(a, func([]byte, Meta) { first++ })
	if !s.Deliver(record, Meta{Src: a}) || s.Deliver(record, Meta{Src: b}) || first != 1 {
		t.Errorf("delivered %d times", first)
	}
	leaveSecond := s.Register(a, func([]byte, Meta) { second++ })
	leaveFirst() // no longer in place, so it takes nothing away
	if !s.Deliver(record, Meta{Src: a}) || first != 1 || second != 1 {
		t.Errorf("first %d, second %d", first, second)
	}
	if s.Deliver([]byte{1}, Meta{Src: a}) || s.Deliver(nil, Meta{Src: a}) {
		t.Error("takes what is no DTLS")
	}
	leaveSecond()
	if s.Deliver(record, Meta{Src: a}) {
		t.Error("taken after everybody left")
	}
}
