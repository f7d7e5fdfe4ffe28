//go:build lab

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/netlab/world"
)

// legRTT is the round trip from each peer to the basestation. Between the
// peers it is twice that, by the relay and directly.
const legRTT = 40 * time.Millisecond

// A latency is one way to connect, and how long it may take.
type latency struct {
	Name   string        `json:"name"`
	Target time.Duration `json:"target"` // for the 95th percentile; five times as long fails
	P50    time.Duration `json:"p50"`
	P95    time.Duration `json:"p95"`
	Runs   int           `json:"runs"`
	Trips  string        `json:"phases,omitempty"`

	order dialOrder
	cold  bool // without a session with the basestation from before
	lan   bool // client and device on one network
	path  client.Via
}

func latencies() []*latency {
	relay, tunnel := dialOrder{Via: client.ViaRelay}, dialOrder{Via: client.ViaRelay, Tunnel: true}
	return []*latency{
		{Name: "relay, warm: request at the device", Target: 600 * time.Millisecond, order: relay},
		{Name: "relay, warm: tunnel byte at the device", Target: 600 * time.Millisecond, order: tunnel},
		{Name: "relay, cold: request at the device", Target: 900 * time.Millisecond, order: relay, cold: true},
		{Name: "relay, cold: tunnel byte at the device", Target: 900 * time.Millisecond, order: tunnel, cold: true},
		{Name: "direct path in use, warm", Target: 2 * time.Second, path: client.ViaDirect},
		{Name: "direct path in use, cold", Target: 2 * time.Second, path: client.ViaDirect, cold: true},
		{Name: "LAN: request at the device", Target: 100 * time.Millisecond, lan: true},
		{Name: "LAN: tunnel byte at the device", Target: 100 * time.Millisecond, lan: true, order: dialOrder{Tunnel: true}},
	}
}

// TestLatency measures how long it takes to connect.
func TestLatency(t *testing.T) {
	runs := 20
	if testing.Short() {
		runs = 3
	}
	wire := func() *world.Conditions { return &world.Conditions{Delay: legRTT / 2} }
	far := newRig(t, world.Config{Sites: []world.SiteConfig{
		{Kind: world.PortRestricted, Wire: wire()}, {Kind: world.PortRestricted, Wire: wire()},
	}})
	near := newRig(t, world.Config{Sites: []world.SiteConfig{
		{Kind: world.PortRestricted, Wire: wire()}, {Kind: world.PortRestricted, Wire: wire(), Hosts: []string{"device", "client"}},
	}})
	near.client = near.start("client", near.Sites[1].Hosts[1])
	near.near()
	list := latencies()
	for _, l := range list {
		r := far
		if l.lan {
			r = near
		}
		l.measure(r, runs)
		t.Logf("%-42s p50 %4d ms  p95 %4d ms  target %4d ms  %s", l.Name,
			l.P50.Milliseconds(), l.P95.Milliseconds(), l.Target.Milliseconds(), l.Trips)
		if l.P95 > 5*l.Target {
			t.Errorf("%s: p95 %v is far beyond %v", l.Name, l.P95, l.Target)
		}
	}
	labSave(t, "latency.json", list)
}

func (l *latency) measure(r *rig, runs int) {
	r.t.Helper()
	var took []time.Duration
	var marks []dialled
	if !l.cold {
		r.dial(l.order) // warms
		r.must("close", nil, nil)
	}
	for range runs {
		if l.cold {
			r.must("forget", nil, nil)
		}
		d := r.dial(l.order)
		one := d.First
		if l.path != "" {
			r.must("await", awaitOrder{string(l.path), patience}, &one)
		}
		if l.lan && d.Path.Kind != "local" {
			r.t.Errorf("on the LAN the path is %+v", d.Path)
		}
		took, marks = append(took, one), append(marks, d)
		r.must("close", nil, nil)
		if !l.lan {
			time.Sleep(2 * time.Second) // a client's share of the device's introductions
		}
	}
	slices.Sort(took)
	l.Runs, l.P50, l.P95 = runs, took[(runs-1)/2], took[(runs*95+99)/100-1]
	slices.SortFunc(marks, func(a, b dialled) int { return int(a.First - b.First) })
	l.Trips = phases(marks[(runs-1)/2])
}

// milestones are what the client logs on its way, in order.
var milestones = []struct{ what, name string }{
	{"basestation reached udp", "session with the basestation"},
	{"introduction granted", "connect"},
	{"device answered", "the device's offer"},
	{"path up relay", "allocation and permission"},
	{"session up", "handshake with the device"},
}

// phases tells how long each part took, also in round trips to the basestation,
// of which one to the device by the relay takes two.
func phases(d dialled) string {
	var parts []string
	var last time.Duration
	add := func(name string, at time.Duration) {
		took := at - last
		parts = append(parts, fmt.Sprintf("%s %d ms (%.1f)", name, took.Milliseconds(), float64(took)/float64(legRTT)))
		last = at
	}
	for _, m := range milestones {
		for _, seen := range d.Marks {
			if seen.What == m.what {
				add(m.name, seen.At)
				break
			}
		}
	}
	add("first byte", d.First)
	return strings.Join(parts, ", ")
}
