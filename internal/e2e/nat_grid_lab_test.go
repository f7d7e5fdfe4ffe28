//go:build lab

package e2e

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey/internal/netlab/world"
)

// gridSample is what -short runs of the grid: each kind on each side, and each
// reason for a relay.
var gridSample = []world.Cell{
	{Client: world.None, Device: world.FullCone, Run: 1},
	{Client: world.PortRestricted, Device: world.PortRestricted, Run: 1},
	{Client: world.CGNAT, Device: world.AddressRestricted, Run: 1},
	{Client: world.Symmetric, Device: world.FullCone, Run: 1},
	{Client: world.PortRestricted, Device: world.Symmetric, Run: 1},
	{Client: world.UDPBlocked, Device: world.PortRestricted, Run: 1},
	{Client: world.AddressRestricted, Device: world.UDPBlocked, Run: 1},
	{Client: world.FullCone, Device: world.CGNAT, Run: 1},
}

// echoed bytes show which way they go: many of them pass the basestation, or
// hardly any.
const echoed = 256 << 10

// gridRuns is how often each cell of the whole grid is run: LATCHKEY_GRID_RUNS,
// or 3.
func gridRuns(t *testing.T) int {
	t.Helper()
	v := os.Getenv("LATCHKEY_GRID_RUNS")
	if v == "" {
		return 3
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("LATCHKEY_GRID_RUNS=%q", v)
	}
	return n
}

// TestGrid connects a client and a device behind every pair of NAT kinds.
func TestGrid(t *testing.T) {
	about := world.Here(t.Context())
	run := func(c world.Cell) (class world.Class, times world.Times, err error) {
		err = errors.New("the lab failed")
		t.Run(c.String(), func(t *testing.T) {
			class, times, err = cross(t, c)
			if want := world.Want(c.Client, c.Device); err != nil || class != want {
				t.Errorf("%s instead of %s, %v", class, want, err)
			}
		})
		return class, times, err
	}
	grid := world.Grid{Title: "Client and device behind NATs"}
	name := "grid"
	if testing.Short() {
		name, grid.Only = "grid-sample", gridSample
	} else {
		grid.Runs = gridRuns(t)
	}
	report := grid.Run(t.Context(), about, run)
	if err := report.Save(labOut(t), name); err != nil {
		t.Error(err)
	}
	for _, r := range report.Results {
		t.Logf("%-55s want %-6s got %-6s %v %s", r.Cell, r.Want, r.Got, r.Times, r.Error)
	}
	for _, r := range report.Wrong() {
		t.Errorf("%s: want %s, got %s %s", r.Cell, r.Want, r.Got, r.Error)
	}
}

// cross connects one pair, sends payload both ways on the first path and on
// the one that the session settles on, and returns the class of that.
func cross(t *testing.T, c world.Cell) (world.Class, world.Times, error) {
	r := newRig(t, world.Config{
		Sites: []world.SiteConfig{{Kind: c.Client}, {Kind: c.Device}},
		Wire:  &world.Conditions{}, // counts
	})
	d := r.dial(dialOrder{})
	r.must("echo", transferOrder{Bytes: echoed}, nil)
	times := world.Times{{Name: "connected", Took: d.Dial}, {Name: "first byte", Took: d.First}}
	// A pair that should stay relayed is given the time that checks take.
	patience := 10 * time.Second
	if world.Want(c.Client, c.Device) == world.Relay {
		patience = 7 * time.Second
		if testing.Short() {
			patience = 3 * time.Second
		}
	}
	class := world.Relay
	var after time.Duration
	if err := r.client.call("await", awaitOrder{"direct", patience}, &after); err == nil {
		class = world.Direct
		times = append(times, world.Phase{Name: "direct", Took: after})
	}
	out, in := r.Wire.Traffic()
	before := out.Bytes + in.Bytes
	r.must("echo", transferOrder{Bytes: echoed}, nil)
	out, in = r.Wire.Traffic()
	passed := out.Bytes + in.Bytes - before
	// Each byte that is relayed passes the basestation's cable four times.
	if relayed := passed > 4*echoed; relayed != (class == world.Relay) || class == world.Direct && passed > echoed/2 {
		return "", times, fmt.Errorf("%d bytes passed the basestation on a %s path", passed, class)
	}
	return class, times, nil
}
