package route

import (
	"net/netip"
	"testing"
	"time"
)

// TestOrigin: what is allowed on a better path is not asked for by a worse one.
func TestOrigin(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	send := func([]byte) error { return nil }
	local, relay := NewPath(Local, send, netip.AddrPort{}), NewPath(Relay, send, netip.AddrPort{})
	var c choice
	kind := func(at time.Duration) Kind {
		if m := c.origin(now.Add(at)); m != nil {
			return m.path.Kind()
		}
		return ""
	}
	if kind(0) != "" {
		t.Error("an origin without a path")
	}
	c.add(local, now)
	c.add(relay, now)
	c.heard(local, now)
	if k := kind(0); k != Local {
		t.Errorf("heard on the local path: %q", k)
	}
	c.heard(relay, now.Add(time.Second))
	if k := kind(time.Second); k != Relay {
		t.Errorf("heard by the relay while the local path is used: %q", k)
	}
	if k := kind(time.Second + lately); k != Local {
		t.Errorf("not heard by the relay any more: %q", k)
	}
	c.remove(local, now.Add(5*time.Second))
	if k := kind(5 * time.Second); k != Relay {
		t.Errorf("only the relay is left: %q", k)
	}
}
