package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 99: "99", 400: "400", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234",
		0.25: "0.250", 0.1234: "0.123", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 6123.7: "6,124",
		-0.5: "-0.500", -12.34: "-12.3", 99.96: "100.0",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		f    figure
		want string
	}{
		{figure{Value: 400, Goal: atLeast(400)}, "PASS"},
		{figure{Value: 399.9, Goal: atLeast(400)}, "MISS"},
		{figure{Value: 25, Goal: atMost(25)}, "PASS"},
		{figure{Value: 25.1, Goal: atMost(25)}, "MISS"},
		{figure{Value: 0, Goal: errorFree}, "PASS"},
		{figure{Value: 1, Goal: errorFree}, "FAIL"},
		{figure{Value: 7}, ""},
		{figure{Failed: true, Goal: atMost(25)}, "FAIL"},
	} {
		if got := c.f.verdict(); got != c.want {
			t.Errorf("%+v is %q, want %q", c.f, got, c.want)
		}
		r := report{Figures: []figure{{Value: 1}, c.f}}
		if r.failed() != (c.want == "FAIL") {
			t.Errorf("a report with %+v failed: %v", c.f, r.failed())
		}
	}
}

func TestReport(t *testing.T) {
	r := report{Machine: "2 cores", Revision: "abc", Figures: []figure{
		{Group: "tunnel", Name: "one stream", Value: 412.3, Unit: "Mbit/s", Goal: atLeast(400), Command: "iperf3", Note: "a\n b"},
		{Group: "coap", Name: "not measured", Failed: true, Note: "why"},
	}}
	var table strings.Builder
	if err := r.print(&table, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"abc · 2 cores\n", "tunnel: one stream", "412 Mbit/s", ">= 400", "PASS", "a b\n", "FAIL", "why\n"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in\n%s", want, table.String())
		}
	}
	var document strings.Builder
	if err := r.print(&document, true); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Figures []struct {
			Value   float64
			Target  struct{ Op string }
			Verdict string
		}
	}
	if err := json.Unmarshal([]byte(document.String()), &back); err != nil {
		t.Fatal(err)
	}
	if f := back.Figures[0]; f.Value != 412.3 || f.Verdict != "PASS" || f.Target.Op != ">=" {
		t.Errorf("%+v in %s", f, document.String())
	}
}

func TestStatistics(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 9, 2}, 3}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
	var all []time.Duration
	for i := range 100 {
		all = append(all, time.Duration(100-i))
	}
	for p, want := range map[int]time.Duration{0: 1, 1: 1, 50: 50, 95: 95, 100: 100} {
		if got := percentile(all, max(p, 1)); got != want {
			t.Errorf("percentile %d is %d, want %d", p, got, want)
		}
	}
	if got := percentile(all[:1], 95); got != 100 {
		t.Errorf("percentile of one value is %d", got)
	}
	if got := percentile(nil, 95); got != 0 {
		t.Errorf("percentile of nothing is %d", got)
	}
	if got := megabits(1e6, time.Second); got != 8 {
		t.Errorf("a megabyte in a second is %v Mbit/s", got)
	}
}
