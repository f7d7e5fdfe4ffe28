package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A figure is one line of the table.
type figure struct {
	Group   string  `json:"group"`
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Goal    goal    `json:"target,omitzero"`
	Command string  `json:"command"`        // how to measure it again
	Note    string  `json:"note,omitempty"` // spread, circumstances
	Failed  bool    `json:"-"`              // it could not be measured
}

// A goal is what a figure should reach. The zero goal is none.
type goal struct {
	Op    string  `json:"op"` // ">=", "<="
	Value float64 `json:"value"`
	Must  bool    `json:"must"` // missing it is a failure, not a slow machine
}

func atLeast(v float64) goal { return goal{Op: ">=", Value: v} }
func atMost(v float64) goal  { return goal{Op: "<=", Value: v} }

// errorFree is the goal of a figure that counts errors.
var errorFree = goal{Op: "<=", Must: true}

// verdict is PASS, MISS or FAIL, or nothing without a goal.
func (f figure) verdict() string {
	met := f.Goal.Op == ">=" && f.Value >= f.Goal.Value || f.Goal.Op == "<=" && f.Value <= f.Goal.Value
	switch {
	case f.Failed:
		return "FAIL"
	case f.Goal.Op == "":
		return ""
	case met:
		return "PASS"
	case f.Goal.Must:
		return "FAIL"
	}
	return "MISS"
}

func (f figure) measured() string {
	if f.Failed {
		return "-"
	}
	return strings.TrimSpace(number(f.Value) + " " + f.Unit)
}

func (g goal) String() string {
	if g.Op == "" {
		return ""
	}
	return g.Op + " " + number(g.Value)
}

// MarshalJSON adds the verdict.
func (f figure) MarshalJSON() ([]byte, error) {
	type plain figure
	return json.Marshal(struct {
		plain
		Verdict string `json:"verdict,omitempty"`
	}{plain(f), f.verdict()})
}

// number writes v with three significant digits, or all that it has before the
// point, in groups of three.
func number(v float64) string {
	digits := 0
	if a := math.Abs(v); a != math.Trunc(a) && a < 100 {
		digits = 1
		for limit := 10.0; a < limit && digits < 3; limit /= 10 {
			digits++
		}
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	whole, fraction, point := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if point {
		whole += "." + fraction
	}
	if strings.HasPrefix(s, "-") {
		whole = "-" + whole
	}
	return whole
}

// A report is everything that was measured.
type report struct {
	Machine  string   `json:"machine"`
	Revision string   `json:"revision"`
	Quick    bool     `json:"quick"` // the figures only show that it works
	Figures  []figure `json:"figures"`
}

func (r *report) failed() bool {
	return slices.ContainsFunc(r.Figures, func(f figure) bool { return f.verdict() == "FAIL" })
}

func (r *report) print(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "\t")
		return e.Encode(r)
	}
	quick := ""
	if r.Quick {
		quick = " · -quick: these figures only show that it works"
	}
	fmt.Fprintf(w, "latchkey %s · %s%s\n\n", r.Revision, r.Machine, quick)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FIGURE\tMEASURED\tTARGET\t\tCOMMAND\tNOTE")
	for _, f := range r.Figures {
		line := []string{f.Group + ": " + f.Name, f.measured(), f.Goal.String(), f.verdict(), f.Command, oneLine(f.Note)}
		fmt.Fprintln(t, strings.TrimRight(strings.Join(line, "\t"), "\t"))
	}
	return t.Flush()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
