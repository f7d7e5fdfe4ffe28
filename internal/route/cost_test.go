package route

import (
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// cost is what n routes take, by side.
type cost struct{ goroutines, heap, stack float64 }

func measure() (m runtime.MemStats, goroutines int) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m, runtime.NumGoroutine()
}

// routes opens n pairs of routes, waits until a side of one has no more than
// the given goroutines, and returns what each side of one costs,
// beside what the relay's server costs.
func routes(t testing.TB, n, goroutines int, relayed bool) cost {
	t.Helper()
	a, b := sockets(t)
	r := newRelay(t)
	before, g := measure()
	for i := range n {
		x, y := *a, *b
		for _, e := range []*end{&x, &y} {
			e.up, e.down, e.got, e.trickle = make(chan *Path, 9), make(chan *Path, 9), make(chan got, 1), make(chan string, 9)
		}
		ca, cb := Config{Controlling: true, Loopback: true}, Config{Loopback: true}
		if relayed {
			ca.Relay, cb.Relay = r.grants(uint16(i))
			ca.DialRelay, cb.DialRelay = r.dialUDP, r.dialUDP
		}
		x.open(ca)
		y.open(cb)
		introduce(t, &x, &y)
		x.waitFor(Direct)
		y.waitFor(Direct)
		if relayed {
			for _, e := range []*end{&x, &y} {
				if e.route.relay.Remote() == (netip.AddrPort{}) {
					e.waitFor(Relay)
				}
			}
		}
	}
	// What only opens a route ends soon.
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > g+2*n*goroutines && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	after, h := measure()
	per := float64(2 * n)
	return cost{
		float64(h-g) / per, float64(after.HeapAlloc-before.HeapAlloc) / per, float64(after.StackInuse-before.StackInuse) / per,
	}
}

// TestCost holds the routes to what their documentation says. The cost of the
// relay leg includes its half of the server in the same process.
func TestCost(t *testing.T) {
	plain := routes(t, 50, 4, false)
	t.Logf("route: %.1f goroutines, %.0f B heap, %.0f B stack", plain.goroutines, plain.heap, plain.stack)
	if plain.goroutines > 4 || plain.heap+plain.stack > 56<<10 {
		t.Errorf("a route costs %+v", plain)
	}
	relayed := routes(t, 50, 10, true)
	t.Logf("with relay: %.1f goroutines, %.0f B heap, %.0f B stack", relayed.goroutines, relayed.heap, relayed.stack)
	if relayed.goroutines > 10 || relayed.heap+relayed.stack > 128<<10 {
		t.Errorf("a route with a relay leg costs %+v", relayed)
	}
}

// BenchmarkFirstPath is the time from the introduction to the first path.
func BenchmarkFirstPath(b *testing.B) {
	for _, c := range []struct {
		name string
		kind Kind
	}{{"direct", Direct}, {"relay", Relay}} {
		b.Run(c.name, func(b *testing.B) {
			r := newRelay(b)
			for i := 0; b.Loop(); i++ {
				x, y := sockets(b)
				ca, cb := Config{Controlling: true, Loopback: true}, Config{Loopback: true}
				if c.kind == Relay {
					ca.Relay, cb.Relay = r.grants(uint16(i))
					ca.DialRelay, cb.DialRelay = r.dialUDP, r.dialUDP
				}
				x.open(ca)
				y.open(cb)
				if c.kind == Direct {
					introduce(b, x, y)
				}
				x.waitFor(c.kind)
				y.waitFor(c.kind)
				x.route.Close()
				y.route.Close()
			}
		})
	}
}
