package route

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v4"

	"github.com/latchkey-dev/latchkey/internal/netlab"
	"github.com/latchkey-dev/latchkey/internal/packet"
)

var stunServer = netip.MustParseAddrPort("198.51.100.1:3478")

// serveSTUN attaches a STUN server. It answers whoever asks.
func serveSTUN(t *testing.T, n *netlab.Network) {
	h := n.Attach(stunServer, packet.Config{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Serve(t.Context(), func(b []byte, m packet.Meta) {
			q := stun.Message{Raw: append([]byte(nil), b...)}
			if q.Decode() != nil {
				return
			}
			a, err := stun.Build(&q, stun.BindingSuccess, &stun.XORMappedAddress{IP: m.Src.Addr().AsSlice(), Port: int(m.Src.Port())}, stun.Fingerprint)
			if err == nil {
				h.Send(a.Raw, m.Src, m.Dst)
			}
		})
	}()
	t.Cleanup(func() {
		h.Close()
		<-done
	})
}

func TestNATs(t *testing.T) {
	type kind struct {
		name               string
		mapping, filtering netlab.Dependence
	}
	full := kind{"full cone", netlab.Independent, netlab.Independent}
	restricted := kind{"restricted", netlab.Independent, netlab.OnAddress}
	port := kind{"port restricted", netlab.Independent, netlab.OnAddressPort}
	symmetric := kind{"symmetric", netlab.OnAddressPort, netlab.OnAddressPort}
	for _, c := range []struct {
		a, b   kind
		direct bool
	}{
		{full, full, true},
		{full, symmetric, true},
		{restricted, restricted, true},
		{restricted, symmetric, true},
		{symmetric, restricted, true},
		{port, port, true},
		{port, full, true},
		{port, symmetric, false},
		{symmetric, port, false},
		{symmetric, symmetric, false},
	} {
		t.Run(c.a.name+" to "+c.b.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := netlab.NewNetwork()
				n.Impair(netlab.Impairment{Delay: 20 * time.Millisecond})
				serveSTUN(t, n)
				client := n.NewNAT(netip.MustParseAddr("203.0.113.1"), c.a.mapping, c.a.filtering)
				device := n.NewNAT(netip.MustParseAddr("203.0.113.2"), c.b.mapping, c.b.filtering)
				a := newEnd(t, client.Attach(netip.MustParseAddrPort("10.0.1.1:5690"), packet.Config{}))
				b := newEnd(t, device.Attach(netip.MustParseAddrPort("10.0.2.1:5690"), packet.Config{}))
				servers := []netip.AddrPort{stunServer}
				a.open(Config{Controlling: true, Servers: servers})
				b.open(Config{Servers: servers})
				begin := time.Now()
				introduce(t, a, b)
				if !c.direct {
					time.Sleep(20 * time.Second) // all checks are over
					select {
					case p := <-a.up:
						t.Errorf("%s path to %v", p.Kind(), p.Remote())
					default:
					}
					return
				}
				p, q := a.waitFor(Direct), b.waitFor(Direct)
				took := time.Since(begin)
				t.Logf("direct %v after the introduction, with a round trip of 40ms", took)
				if took > time.Second {
					t.Errorf("took %v", took)
				}
				exchange(t, a, p, b, q)
			})
		})
	}
}

// TestLost cuts the network under a direct path and mends it again.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := netlab.NewNetwork()
		a := newEnd(t, n.Attach(netip.MustParseAddrPort("192.0.2.1:5690"), packet.Config{}))
		b := newEnd(t, n.Attach(netip.MustParseAddrPort("192.0.2.2:5690"), packet.Config{}))
		a.open(Config{Controlling: true})
		b.open(Config{})
		introduce(t, a, b)
		p, q := a.waitFor(Direct), b.waitFor(Direct)
		var sent atomic.Int64
		n.Filter(func(*netlab.Datagram) bool { sent.Add(1); return true })
		time.Sleep(time.Minute)
		if checks := sent.Load(); checks < 40 || checks > 80 { // a request and an answer every 4 s from each side
			t.Errorf("%d datagrams in a quiet minute", checks)
		}
		cut := time.Now()
		n.Filter(func(*netlab.Datagram) bool { return false })
		if receive(t, a.down, "Down") != p || receive(t, b.down, "Down") != q {
			t.Fatal("another path went down")
		}
		if took := time.Since(cut); took < 5*time.Second || took > 20*time.Second {
			t.Errorf("lost after %v", took)
		}
		time.Sleep(time.Minute)
		n.Filter(nil)
		if a.waitFor(Direct) != p || b.waitFor(Direct) != q {
			t.Fatal("another path came up")
		}
		exchange(t, a, p, b, q)
	})
}

// TestConsent lets the peer's checks through, but not its answers to ours: then
// nobody there has said that it wants what we send.
func TestConsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair4(t)
		a.open(Config{Controlling: true})
		b.open(Config{})
		introduce(t, a, b)
		p := a.waitFor(Direct)
		b.waitFor(Direct)
		at := a.hub.cfg.Addrs()[0]
		cut := time.Now()
		n.Filter(func(d *netlab.Datagram) bool {
			return d.To != at || !isSTUN(d.Payload) || typeOf(d.Payload) != bindingSuccess
		})
		if receive(t, a.down, "Down") != p {
			t.Error("another path went down")
		}
		if took := time.Since(cut); took > 20*time.Second {
			t.Errorf("sent for %v without consent", took)
		}
		n.Filter(nil)
		if a.waitFor(Direct) != p {
			t.Error("another path came up")
		}
	})
}
