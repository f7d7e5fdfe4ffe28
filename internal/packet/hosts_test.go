package packet

import (
	"net/netip"
	"slices"
	"testing"
)

func TestExpand(t *testing.T) {
	fixed := netip.MustParseAddrPort("192.0.2.1:7")
	any4, any6 := netip.MustParseAddrPort("0.0.0.0:8"), netip.MustParseAddrPort("[::]:9")
	with, without := Expand([]netip.AddrPort{fixed, any4, any6}, true), Expand([]netip.AddrPort{fixed, any4, any6}, false)
	for _, own := range []string{"127.0.0.1:8", "[::1]:9"} {
		a := netip.MustParseAddrPort(own)
		if !slices.Contains(with, a) || slices.Contains(without, a) {
			t.Errorf("%v is in %v but not in %v: wrong", a, with, without)
		}
	}
	if len(with) != len(without)+2 || with[0] != fixed {
		t.Errorf("%v and %v", with, without)
	}
	for _, a := range without {
		wantPort := map[bool]uint16{true: 8, false: 9}[a.Addr().Is4()]
		if a != fixed && (a.Port() != wantPort || !a.Addr().IsGlobalUnicast()) {
			t.Errorf("%v is no address for others", a)
		}
	}
	if !slices.IsSortedFunc(SortedHostAddrs(), netip.Addr.Compare) {
		t.Error("not sorted")
	}
}
