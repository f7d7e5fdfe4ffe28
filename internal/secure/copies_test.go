package secure

import (
	"bytes"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

// TestCopies has datagrams come several times. A copy counts as a sign of life
// of a slower path, and for nothing else.
func TestCopies(t *testing.T) {
	client, server := anyone(t), anyone(t)
	relay, direct, third := packet.Meta{Src: netip.MustParseAddrPort("240.1.2.3:4000")},
		packet.Meta{Src: netip.MustParseAddrPort("192.0.2.1:5690")}, packet.Meta{Src: netip.MustParseAddrPort("192.0.2.2:5690")}
	type arrival struct {
		after time.Duration
		by    packet.Meta
		edit  func(b []byte)
		want  bool
	}
	forged := func(b []byte) { b[len(b)-1]++ }
	for _, c := range []struct {
		name     string
		arrivals []arrival
	}{
		{"by a slower path", []arrival{{0, relay, nil, true}, {300 * time.Millisecond, direct, nil, true}}},
		{"by the same path", []arrival{{0, relay, nil, true}, {0, relay, nil, false}}},
		{"counts once", []arrival{{0, relay, nil, true}, {0, direct, nil, true}, {0, direct, nil, false}, {0, third, nil, false}}},
		{"in time", []arrival{{0, relay, nil, true}, {copyLife, direct, nil, true}}},
		{"too late", []arrival{{0, relay, nil, true}, {copyLife + 1, direct, nil, false}}},
		{"forged", []arrival{{0, relay, nil, true}, {0, direct, forged, false}, {0, direct, nil, true}}},
		{"first from nowhere", []arrival{{0, packet.Meta{}, nil, true}, {0, direct, nil, false}}},
		{"then from nowhere", []arrival{{0, relay, nil, true}, {0, packet.Meta{}, nil, false}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to := pair(t, client, server)
				defer from.Close()
				defer to.Close()
				mustTalk(t, from, to)
				var sent []byte
				from.SetSend(func(b []byte) error { sent = bytes.Clone(b); return nil })
				if _, err := from.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				var heard time.Time
				for i, a := range c.arrivals {
					time.Sleep(a.after)
					b := bytes.Clone(sent)
					if a.edit != nil {
						a.edit(b)
					}
					if got := to.Deliver(b, a.by); got != a.want {
						t.Errorf("arrival %d counts: %t", i, got)
					}
					if i == 0 {
						heard = to.LastHeard()
					}
				}
				if !to.LastHeard().Equal(heard) {
					t.Error("a copy is news of the peer")
				}
				if <-to.got; len(to.got) != 0 {
					t.Error("a copy was handled")
				}
			})
		})
	}
}

// TestCopiesOfMany sends a lot at once: a path that is slower by a thousand
// datagrams is not dead.
func TestCopiesOfMany(t *testing.T) {
	var c copies
	relay, direct := netip.MustParseAddrPort("240.1.2.3:4000"), netip.MustParseAddrPort("192.0.2.1:5690")
	synctest.Test(t, func(t *testing.T) {
		const rate, behind = 1000, 1000 // a second
		found := 0
		for n := range uint64(10 * rate) {
			time.Sleep(time.Second / rate)
			c.came(n, relay, time.Now())
			if n >= behind && c.of(n-behind, direct) != nil {
				found++
			}
		}
		if found < 30 || found > 50 {
			t.Errorf("%d of some 36 copies found", found)
		}
	})
}

// TestCopiesCostNothing: no memory is needed for a datagram that comes again.
func TestCopiesCostNothing(t *testing.T) {
	from, to := pair(t, anyone(t), anyone(t))
	mustTalk(t, from, to)
	relay, direct := packet.Meta{Src: netip.MustParseAddrPort("240.1.2.3:4000")}, packet.Meta{Src: netip.MustParseAddrPort("192.0.2.1:5690")}
	var sent []byte
	from.SetSend(func(b []byte) error { sent = bytes.Clone(b); return nil })
	if _, err := from.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	to.Deliver(sent, relay)
	sent[len(sent)-1]++
	if n := testing.AllocsPerRun(100, func() { to.Deliver(sent, direct) }); n >= 1 {
		t.Errorf("%v allocations for a forged copy", n)
	}
}
