package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
)

func TestReadMetrics(t *testing.T) {
	text := "# HELP go_goroutines Number.\n# TYPE go_goroutines gauge\ngo_goroutines 42\n" +
		"go_info{version=\"go1\"} 1\nlatchkey_basestation_devices 1e+04\nodd\n"
	got, err := readMetrics(strings.NewReader(text))
	if err != nil || len(got) != 2 || got[metricGoroutines] != 42 || got[metricDevices] != 10_000 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAddress(t *testing.T) {
	seen := make(map[string]bool)
	for i := range 70_000 {
		a := address(i)
		if !a.IsLoopback() || seen[a.String()] {
			t.Fatalf("device %d is at %v", i, a)
		}
		seen[a.String()] = true
	}
}

func TestEach(t *testing.T) {
	var sum atomic.Int64
	bad := errors.New("bad")
	failed, first := each(t.Context(), 100, 7, func(_ context.Context, i int) error {
		sum.Add(int64(i))
		if i%10 == 3 {
			return bad
		}
		return nil
	})
	if failed != 10 || !errors.Is(first, bad) || sum.Load() != 99*100/2 {
		t.Errorf("%d failed with %v, sum %d", failed, first, sum.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	failed, first = each(ctx, 5, 2, func(context.Context, int) error { t.Error("called"); return nil })
	if failed != 5 || !errors.Is(first, context.Canceled) {
		t.Errorf("%d failed with %v", failed, first)
	}
}
