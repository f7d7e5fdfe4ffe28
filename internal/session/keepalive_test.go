package session

import (
	"testing"
	"time"
)

// TestKeepalive walks through a silence of a session second by second.
func TestKeepalive(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k := keepalive{limit: lostAfter}
	probes := map[int]bool{}
	ended := -1
	for s := range 100 {
		switch k.step(start.Add(time.Duration(s)*time.Second), start) {
		case probe:
			probes[s] = true
		case lost:
			ended = s
		}
		if want := s >= 12; k.down != want {
			t.Fatalf("after %d s of silence down is %v", s, k.down)
		}
		if ended >= 0 {
			break
		}
	}
	for _, s := range []int{5, 8, 11, 14} {
		if !probes[s] {
			t.Errorf("no probe after %d s; probes at %v", s, probes)
		}
	}
	if len(probes) > 30 || probes[4] {
		t.Errorf("probes at %v", probes)
	}
	if ended != 72 {
		t.Errorf("ended after %d s, want 72", ended)
	}
}

func TestKeepaliveRecovers(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k := keepalive{limit: lostAfter}
	k.step(start.Add(20*time.Second), start)
	if !k.down {
		t.Fatal("not down after 20 s")
	}
	if v := k.step(start.Add(21*time.Second), start.Add(20500*time.Millisecond)); v != quiet || k.down {
		t.Errorf("heard again, but %v, down %v", v, k.down)
	}
}

func TestKeepaliveLimit(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k := keepalive{limit: 30 * time.Second}
	if v := k.step(start.Add(29*time.Second), start); v == lost {
		t.Error("lost after 29 s")
	}
	if v := k.step(start.Add(30*time.Second), start); v != lost {
		t.Errorf("after 30 s: %v", v)
	}
}
