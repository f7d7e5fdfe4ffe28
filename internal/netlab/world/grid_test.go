package world

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The table in full, d for direct and r for relay, in the order of Kinds.
func TestWant(t *testing.T) {
	for i, line := range []string{
		"ddddddr", // none
		"ddddddr", // full cone
		"ddddddr", // address-restricted
		"ddddrdr", // port-restricted
		"dddrrrr", // symmetric
		"ddddrdr", // CGNAT over port-restricted
		"rrrrrrr", // UDP blocked
	} {
		for j, c := range line {
			want := map[rune]Class{'d': Direct, 'r': Relay}[c]
			if got := Want(Kinds()[i], Kinds()[j]); got != want {
				t.Errorf("%s to %s: %s, want %s", Kinds()[i], Kinds()[j], got, want)
			}
		}
	}
}

func TestGrid(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := Grid{Title: "A <grid>", Kinds: []Kind{None, Symmetric}, Runs: 2}
	n := 0
	report := g.Run(ctx, About{Commit: "abc123", Kernel: "6.1", Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, func(c Cell) (Class, Times, error) {
		switch n++; n {
		case 2:
			return Relay, Times{{"first byte", 5 * time.Millisecond}}, nil // should be direct
		case 3:
			return Direct, nil, errors.New("no <path>")
		case 7:
			cancel()
		}
		return Want(c.Client, c.Device), Times{{"first byte", 1500 * time.Microsecond}, {"direct", time.Second}}, nil
	})
	if n != 7 || len(report.Results) != 8 {
		t.Errorf("%d calls, %d results", n, len(report.Results))
	}
	if wrong := report.Wrong(); len(wrong) != 3 || wrong[0].Got != Relay || wrong[1].Got != "" || wrong[2].Error == "" {
		t.Errorf("wrong: %+v", wrong)
	}
	dir := t.TempDir()
	if err := report.Save(dir, "grid"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "grid.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(&back, report) {
		t.Errorf("read back: %v\n%+v\n%+v", err, back, *report)
	}
	html, err := os.ReadFile(filepath.Join(dir, "grid.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"A &lt;grid&gt;", "no &lt;path&gt;", "abc123", "2026-01-02 03:04 UTC", "8 runs, <strong>3 not as the table says</strong>",
		`<td class="wrong"><strong>relay, direct</strong> 1/2<small>want direct</small>`, `<td class="direct"><strong>direct</strong> 2/2<small>first byte 1.5 ms</small>`,
		`<td>relay</td><td>first byte</td><td class="n">2</td><td class="n">1.5 ms</td><td class="n">1.5 ms</td><td class="n">5.0 ms</td>`,
	} {
		if !strings.Contains(string(html), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if t.Failed() {
		t.Log(string(html))
	}
}

func TestHere(t *testing.T) {
	a := Here(t.Context())
	if a.Commit == "" || a.Kernel == "" || a.System == "" || time.Since(a.Date) > time.Hour {
		t.Errorf("%+v", a)
	}
}

func TestPercentile(t *testing.T) {
	for _, c := range []struct {
		values  []int
		p, want int
	}{
		{[]int{7}, 50, 7},
		{[]int{7}, 95, 7},
		{[]int{1, 2}, 50, 1},
		{[]int{1, 2, 3}, 50, 2},
		{[]int{1, 2, 3}, 95, 3},
		{[]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}, 95, 19},
	} {
		if got := percentile(c.values, c.p); got != c.want {
			t.Errorf("%d%% of %v is %d, want %d", c.p, c.values, got, c.want)
		}
	}
}
