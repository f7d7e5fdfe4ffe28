package secure

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

// TestMove has a session change its path in both directions.
func TestMove(t *testing.T) {
	h := newHall(t, anyone(t), Limits{})
	v, err := h.visit(t, anyone(t), netip.MustParseAddrPort("192.0.2.9:9"))
	if err != nil {
		t.Fatal(err)
	}
	defer v.leave()
	server := <-h.accepted
	var direct atomic.Int64
	server.Watch(func() { direct.Add(1) })
	for _, text := range []string{"a", "b"} {
		if err := talk(t, v.session, server, text); err != nil {
			t.Fatal(err)
		}
		<-v.got // the echo
	}
	if n := direct.Load(); n != 2 {
		t.Errorf("%d authentic datagrams from the address, want 2", n)
	}
	h.Deliver(forge(typeApplicationData, 1, 5, make([]byte, 40)), packet.Meta{Src: netip.MustParseAddrPort("192.0.2.9:9")})
	if n := direct.Load(); n != 2 {
		t.Error("a forged datagram counts")
	}

	var there, back atomic.Int64
	v.SetSend(func(b []byte) error {
		there.Add(1)
		if !server.Deliver(b, packet.Meta{}) {
			t.Error("not authentic by another path")
		}
		if server.Deliver(b, packet.Meta{}) {
			t.Error("authentic twice")
		}
		return nil
	})
	server.SetSend(func(b []byte) error {
		back.Add(1)
		go v.Deliver(b, packet.Meta{})
		return nil
	})
	if err := talk(t, v.session, server, "moved"); err != nil {
		t.Fatal(err)
	}
	if got := <-v.got; got != "moved" || there.Load() != 1 || back.Load() != 1 || direct.Load() != 2 {
		t.Errorf("%q, %d there, %d back, %d by the old way", got, there.Load(), back.Load(), direct.Load())
	}
}

// TestProvenPath counts flights: without a cookie exchange a handshake takes a
// round trip less.
func TestProvenPath(t *testing.T) {
	for _, proven := range []bool{false, true} {
		server := anyone(t)
		server.Proven = proven
		d := newDuo(anyone(t), server)
		var hellos, verifies atomic.Int64
		d.set(func(b []byte) [][]byte {
			if _, ok := parseClientHello(b); ok {
				hellos.Add(1)
			}
			return [][]byte{b}
		}, func(b []byte) [][]byte {
			if r, _, ok := nextRecord(b); ok && r.kind == typeHandshake && r.epoch == 0 && r.body()[0] == 3 { // HelloVerifyRequest
				verifies.Add(1)
			}
			return [][]byte{b}
		})
		c, s := d.sessions(t)
		mustTalk(t, c, s)
		want := int64(1)
		if proven {
			want = 0
		}
		if verifies.Load() != want || hellos.Load() != want+1 {
			t.Errorf("proven %v: %d ClientHellos, %d HelloVerifyRequests", proven, hellos.Load(), verifies.Load())
		}
	}
}
