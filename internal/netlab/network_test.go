package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

var (
	alice = netip.MustParseAddrPort("192.0.2.1:1000")
	bob   = netip.MustParseAddrPort("192.0.2.2:2000")
)

// run sends count numbered datagrams from alice to bob and returns what
// arrives within a minute, in order.
func run(t *testing.T, count int, prepare func(*Network)) (got []string, metas []packet.Meta) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := n.Attach(alice, packet.Config{}), n.Attach(bob, packet.Config{})
		defer a.Close()
		defer b.Close()
		prepare(n)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for i := range count {
			if err := a.Send(fmt.Append(nil, i), bob, alice.Addr()); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Serve(ctx, func(p []byte, m packet.Meta) {
			got, metas = append(got, string(p)), append(metas, m)
		}); err != nil {
			t.Fatal(err)
		}
	})
	return got, metas
}

func TestPerfectNetwork(t *testing.T) {
	got, metas := run(t, 3, func(*Network) {})
	if !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Errorf("got %v", got)
	}
	want := packet.Meta{Src: alice, Dst: bob.Addr(), IfIndex: 1, HopLimit: 64}
	for _, m := range metas {
		if m != want {
			t.Errorf("meta is %+v, want %+v", m, want)
		}
	}
}

func TestImpairmentsRepeat(t *testing.T) {
	harm := Impairment{Seed: 7, Loss: 0.3, Duplicate: 0.2, Delay: 40 * time.Millisecond, Jitter: 20 * time.Millisecond}
	first, _ := run(t, 1000, func(n *Network) { n.Impair(harm) })
	second, _ := run(t, 1000, func(n *Network) { n.Impair(harm) })
	if !slices.Equal(first, second) {
		t.Error("the same seed did other harm")
	}
	if len(first) < 740 || len(first) > 940 { // 1.2 × 0.7 × 1000
		t.Errorf("%d of 1000 datagrams arrived", len(first))
	}
	if slices.IsSorted(first) {
		t.Error("jitter reordered nothing")
	}
	harm.Seed = 8
	if other, _ := run(t, 1000, func(n *Network) { n.Impair(harm) }); slices.Equal(first, other) {
		t.Error("another seed did the same harm")
	}
}

func TestRoutersAndFilter(t *testing.T) {
	got, metas := run(t, 3, func(n *Network) {
		n.Impair(Impairment{Routers: 4})
		n.Filter(func(d *Datagram) bool {
			d.Payload = append(d.Payload, '!')
			return d.Payload[0] != '1'
		})
	})
	if !slices.Equal(got, []string{"0!", "2!"}) {
		t.Errorf("got %v", got)
	}
	for _, m := range metas {
		if m.HopLimit != 60 {
			t.Errorf("hop limit %d after 4 routers", m.HopLimit)
		}
	}
	if got, _ := run(t, 1, func(n *Network) { n.Impair(Impairment{Routers: 64}) }); len(got) != 0 {
		t.Error("a datagram outlived its hop limit")
	}
}

func TestInject(t *testing.T) {
	mallory := netip.MustParseAddrPort("198.51.100.1:1")
	got, metas := run(t, 0, func(n *Network) {
		n.Inject(Datagram{From: mallory, To: bob, HopLimit: 9, Payload: []byte("x")})
		n.Inject(Datagram{From: mallory, To: mallory, Payload: []byte("to nobody")})
	})
	if len(got) != 1 || metas[0].Src != mallory || metas[0].HopLimit != 9 {
		t.Errorf("got %v, %+v", got, metas)
	}
}

func TestHostEnds(t *testing.T) {
	n := NewNetwork()
	h := n.Attach(alice, packet.Config{})
	if err := h.Send(nil, bob, bob.Addr()); err == nil {
		t.Error("sent from the address of another")
	}
	for range 2 {
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Serve(t.Context(), nil); err != nil {
		t.Errorf("Serve after Close: %v", err)
	}
	if err := h.Send(nil, bob, netip.Addr{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
	defer n.Attach(alice, packet.Config{}).Close() // the address is free
	defer func() {
		if recover() == nil {
			t.Error("two hosts share an address")
		}
	}()
	n.Attach(alice, packet.Config{})
}
