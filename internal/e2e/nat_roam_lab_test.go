//go:build lab

package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/netlab/world"
)

// stallTarget is how long a transfer may stand still when an address changes.
const stallTarget = 2 * time.Second

// A change is what happens in the middle of a transfer. It may come in steps.
type change struct {
	name  string
	world world.Config
	near  bool   // the session begins on the device's own network
	begin string // the path before
	steps []func(*rig)
	after string        // the path that the session ends up on; "": any
	limit time.Duration // for the stall; zero: five times the target
}

func twoSites(client, device world.Kind) world.Config {
	wire := func() *world.Conditions { return &world.Conditions{Delay: 10 * time.Millisecond} }
	return world.Config{Sites: []world.SiteConfig{{Kind: client, Wire: wire()}, {Kind: device, Wire: wire()}}}
}

// threeSites have room to move: the client at home with the device, or away at
// either of two places.
func threeSites() world.Config {
	c := twoSites(world.PortRestricted, world.PortRestricted)
	c.Sites[1].Hosts = []string{"device", "guest"}
	c.Sites = append(c.Sites, world.SiteConfig{Kind: world.PortRestricted, Wire: c.Sites[0].Wire})
	return c
}

// families have the client where there is IPv4 alone, and then where there is
// IPv6 alone.
func families() world.Config {
	c := threeSites()
	c.V6, c.Sites[1].V6, c.Sites[2].V6, c.Sites[2].NoV4 = true, true, true, true
	return c
}

const hole = 300 * time.Millisecond // without any network, on the way from one to another

func changes() []change {
	pair := twoSites(world.PortRestricted, world.PortRestricted)
	wan := func(site int) func(*rig) { return func(r *rig) { r.Sites[site].ChangeAddress() } }
	lan := func(site int) func(*rig) { return func(r *rig) { r.Sites[site].Hosts[0].Renumber() } }
	flush := func(r *rig) { r.Sites[0].FlushMappings(); r.Sites[1].FlushMappings() }
	move := func(site int) func(*rig) { return func(r *rig) { r.mobile().Move(r.Sites[site], hole) } }
	block := func(on bool) func(*rig) { return func(r *rig) { r.Sites[0].BlockUDP(on) } }
	return []change{
		{name: "client's public address", world: pair, begin: "direct", steps: []func(*rig){wan(0)}, after: "direct"},
		{name: "client's own address", world: pair, begin: "direct", steps: []func(*rig){lan(0)}, after: "direct"},
		{name: "device's public address", world: pair, begin: "direct", steps: []func(*rig){wan(1)}, after: "direct"},
		{name: "device's own address", world: pair, begin: "direct", steps: []func(*rig){lan(1)}, after: "direct"},
		{name: "mappings forgotten", world: pair, begin: "direct", steps: []func(*rig){flush}, after: "direct"},
		{name: "mappings forgotten, relayed", world: twoSites(world.Symmetric, world.Symmetric), begin: "relay", steps: []func(*rig){flush}, after: "relay"},
		{name: "LAN to remote and back", world: threeSites(), near: true, begin: "local", steps: []func(*rig){move(0), move(1)}},
		{name: "remote to remote", world: threeSites(), begin: "direct", steps: []func(*rig){move(2)}, after: "direct"},
		{name: "IPv4 to IPv6 and back", world: families(), begin: "direct", steps: []func(*rig){move(2), move(0)}, after: "direct"},
		{name: "basestation killed", world: pair, begin: "direct", steps: []func(*rig){func(r *rig) { r.base.kill() }}, after: "direct", limit: time.Second},
		{name: "UDP blocked and free again", world: pair, begin: "direct", steps: []func(*rig){block(true), block(false)}, limit: 20 * time.Second},
	}
}

// mobile is the host that the client runs on.
func (r *rig) mobile() *world.Host {
	if r.nearby {
		return r.Sites[1].Hosts[1]
	}
	return r.Sites[0].Hosts[0]
}

// A stall is the longest time in which a transfer stood still after a step.
type stall struct {
	Change string          `json:"change"`
	Step   int             `json:"step"`
	Took   []time.Duration `json:"took"`
	Path   []string        `json:"path"` // afterwards
}

// TestRoaming changes the network in the middle of transfers, which go on in
// the same tunnel of the same connection.
func TestRoaming(t *testing.T) {
	runs, size := 5, int64(100<<20)
	if testing.Short() {
		runs, size = 1, 40<<20
	}
	var stalls []*stall
	for _, c := range changes() {
		first := len(stalls)
		for i := range c.steps {
			stalls = append(stalls, &stall{Change: c.name, Step: i + 1})
		}
		for run := range runs {
			t.Run(fmt.Sprintf("%s/%d", c.name, run+1), func(t *testing.T) { c.run(t, size, stalls[first:]) })
		}
	}
	for _, s := range stalls {
		sorted := slices.Sorted(slices.Values(s.Took))
		if len(sorted) > 0 {
			t.Logf("%-30s step %d  p50 %5d ms  max %5d ms  target %d ms  then %s", s.Change, s.Step,
				sorted[(len(sorted)-1)/2].Milliseconds(), sorted[len(sorted)-1].Milliseconds(), stallTarget.Milliseconds(), strings.Join(s.Path, " "))
		}
	}
	labSave(t, "roaming.json", stalls)
}

func (c change) run(t *testing.T, size int64, stalls []*stall) {
	r := newRig(t, c.world)
	if c.near {
		r.nearby = true
		r.client = r.start("client", r.mobile())
		r.near()
	}
	r.dial(dialOrder{})
	r.must("await", awaitOrder{c.begin, patience}, nil)
	const rate = 8 << 20
	r.must("transfer", transferOrder{Bytes: size, Rate: rate}, nil)
	var began []time.Time // the steps, and then the end
	for i, step := range c.steps {
		r.reach(size * int64(i+1) / int64(len(c.steps)+1))
		at := time.Now()
		step(r)
		r.recovers(at)
		var path client.Path
		r.must("path", nil, &path)
		stalls[i].Path = append(stalls[i].Path, path.Kind)
		began = append(began, at)
	}
	r.reach(size)
	await(t, "the end of the transfer", func() bool { return r.progress().Over })
	s := r.progress()
	if !s.Equal {
		t.Errorf("transfer: %s", s.Error)
	}
	began = append(began, time.Now())
	limit := cmp.Or(c.limit, 5*stallTarget)
	for i := range c.steps {
		took := s.longest(began[i], began[i+1])
		stalls[i].Took = append(stalls[i].Took, took)
		if took > limit {
			t.Errorf("step %d: stood still for %v", i+1, took)
		}
	}
	if c.after != "" {
		r.must("await", awaitOrder{c.after, patience}, nil)
	}
	if r.base.cmd.ProcessState != nil { // killed
		r.base = r.start("basestation", r.Base)
		r.must("close", nil, nil)
		back := time.Now()
		await(t, "the device back at the basestation", func() bool {
			var list []basestation.DeviceStatus
			if err := r.base.call("attached", nil, &list); err != nil {
				t.Fatal(err)
			}
			return len(list) > 0
		})
		t.Logf("the device is back after %v", time.Since(back))
		r.dial(dialOrder{})
	}
}

func (r *rig) progress() transferred {
	r.t.Helper()
	var s transferred
	r.must("progress", nil, &s)
	if s.Error != "" {
		r.t.Fatalf("transfer: %s", s.Error)
	}
	return s
}

// reach waits until so many bytes have come.
func (r *rig) reach(bytes int64) {
	r.t.Helper()
	await(r.t, fmt.Sprintf("%d bytes", bytes), func() bool { return r.progress().Received >= bytes })
}

// recovers waits until the transfer is under way again after a step: for as
// long as it takes to notice that it stands still, and then until it does not.
func (r *rig) recovers(at time.Time) {
	r.t.Helper()
	was := r.progress().Received
	await(r.t, "the transfer under way again", func() bool {
		s := r.progress()
		return s.Over || time.Since(at) > 1500*time.Millisecond && s.Received > was+1<<20 && time.Since(s.Last) < minGap
	})
}

// longest returns the longest gap that ended between two moments.
func (s transferred) longest(after, before time.Time) time.Duration {
	var most time.Duration
	for _, g := range s.Gaps {
		if end := g.From.Add(g.Took); end.After(after) && end.Before(before) {
			most = max(most, g.Took)
		}
	}
	return most
}
