package world

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A Grid is an experiment for each pair of kinds.
type Grid struct {
	Title string
	Kinds []Kind // zero: all
	Runs  int    // of each cell; zero: 1
	Only  []Cell // nothing but these; nil: all
}

// A Cell is one run of one pair.
type Cell struct {
	Client Kind `json:"client"`
	Device Kind `json:"device"`
	Run    int  `json:"run"` // from 1
}

func (c Cell) String() string { return fmt.Sprintf("%s to %s, run %d", c.Client, c.Device, c.Run) }

// A Phase is a part of a run and how long it took.
type Phase struct {
	Name string
	Took time.Duration
}

type phaseJSON struct {
	Name string  `json:"name"`
	Ms   float64 `json:"ms"`
}

// MarshalJSON writes the time in milliseconds.
func (p Phase) MarshalJSON() ([]byte, error) {
	return json.Marshal(phaseJSON{p.Name, float64(p.Took.Microseconds()) / 1000})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *Phase) UnmarshalJSON(b []byte) error {
	var v phaseJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	p.Name, p.Took = v.Name, time.Duration(v.Ms*1000)*time.Microsecond
	return nil
}

// Times are the phases of a run, in order.
type Times []Phase

// A Result is what came of a Cell.
type Result struct {
	Cell
	Want  Class  `json:"want"`
	Got   Class  `json:"got,omitempty"` // empty if the run failed
	Times Times  `json:"times,omitempty"`
	Error string `json:"error,omitempty"`
}

// OK reports whether the run ended as the table says.
func (r Result) OK() bool { return r.Error == "" && r.Got == r.Want }

// About says where and when a grid was measured.
type About struct {
	Date   time.Time `json:"date"`
	Commit string    `json:"commit"`
	Kernel string    `json:"kernel"`
	System string    `json:"system"` // of Go
}

// A Report is the outcome of a Grid.
type Report struct {
	Title   string   `json:"title"`
	About   About    `json:"about"`
	Kinds   []Kind   `json:"kinds"`
	Results []Result `json:"results"`
}

// Cells returns the runs of the grid in order: all cells, then all again.
func (g Grid) Cells() []Cell {
	if g.Only != nil {
		return g.Only
	}
	var cells []Cell
	for run := range max(1, g.Runs) {
		for _, client := range g.kinds() {
			for _, device := range g.kinds() {
				cells = append(cells, Cell{client, device, run + 1})
			}
		}
	}
	return cells
}

func (g Grid) kinds() []Kind {
	if len(g.Kinds) == 0 {
		return Kinds()
	}
	return g.Kinds
}

// Run calls f for each cell, one after another, and compares what it returns
// with Want. A cell that fails does not end the grid; the end of ctx does, and
// then the cells left out are failures.
func (g Grid) Run(ctx context.Context, about About, f func(Cell) (Class, Times, error)) *Report {
	report := &Report{Title: g.Title, About: about, Kinds: g.kinds()}
	for _, c := range g.Cells() {
		r := Result{Cell: c, Want: Want(c.Client, c.Device)}
		err := ctx.Err()
		if err == nil {
			r.Got, r.Times, err = f(c)
		}
		if err != nil {
			r.Got, r.Error = "", err.Error()
		}
		report.Results = append(report.Results, r)
	}
	return report
}

// Wrong returns the results that are not as the table says.
func (r *Report) Wrong() []Result {
	return slices.DeleteFunc(slices.Clone(r.Results), Result.OK)
}

// WriteJSON writes the report as JSON.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Save writes name.html and name.json into a directory.
func (r *Report) Save(dir, name string) error {
	for suffix, write := range map[string]func(io.Writer) error{".html": r.WriteHTML, ".json": r.WriteJSON} {
		var text strings.Builder
		if err := write(&text); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name+suffix), []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Here describes this machine and the commit that is checked out in the working
// directory. What it cannot find out is "unknown".
func Here(ctx context.Context) About {
	a := About{Date: time.Now().UTC().Truncate(time.Second), Commit: "unknown", Kernel: "unknown"}
	if out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output(); err == nil {
		a.Commit = strings.TrimSpace(string(out))
	}
	if out, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		a.Kernel = strings.TrimSpace(string(out))
	}
	a.System = fmt.Sprintf("%s/%s, %s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU())
	return a
}

// percentile returns the smallest value that is not below p percent of sorted
// values.
func percentile[T cmp.Ordered](sorted []T, p int) T {
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}
