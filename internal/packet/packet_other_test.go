//go:build !linux

package packet

import (
	"net/netip"
	"testing"
)

// checkFacts allows a system to stay silent, but not to lie.
func checkFacts(t *testing.T, m Meta, dst netip.Addr, hops int) {
	t.Helper()
	if m.Dst.IsValid() && m.Dst != dst {
		t.Errorf("destination %v, want %v", m.Dst, dst)
	}
	if m.HopLimit != 0 && hops != 0 && m.HopLimit != hops {
		t.Errorf("hop limit %d, want %d", m.HopLimit, hops)
	}
}
