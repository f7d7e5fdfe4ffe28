package world

import (
	"testing"
	"time"
)

// fates sends n frames of 1000 bytes, one each millisecond.
func fates(l *lane, c Conditions, n int) (due []time.Duration, lost, twice int) {
	for i := range n {
		at, copies := l.fate(&c, time.Duration(i)*time.Millisecond, 1000)
		switch copies {
		case 0:
			lost++
		case 2:
			twice++
		}
		for k := range copies {
			due = append(due, at[k])
		}
	}
	return due, lost, twice
}

func near(t *testing.T, what string, got, want, slack float64) {
	t.Helper()
	if got < want-slack || got > want+slack {
		t.Errorf("%s: %.3f, want %.3f", what, got, want)
	}
}

func TestLossInBursts(t *testing.T) {
	const n = 200000
	for _, c := range []Conditions{{Loss: 0.01}, {Loss: 0.05, Burst: 4}, {Loss: 0.4, Burst: 10}, {Loss: 1, Burst: 3}} {
		l := newLane(1, 0)
		lost, bursts, before := 0, 0, false
		for range n {
			_, copies := l.fate(&c, 0, 100)
			if copies == 0 {
				lost++
				if !before {
					bursts++
				}
			}
			before = copies == 0
		}
		near(t, "loss", float64(lost)/n, c.Loss, 0.02)
		if c.Burst > 1 && c.Loss < 1 {
			near(t, "mean burst", float64(lost)/float64(bursts), c.Burst, c.Burst*0.1)
		}
	}
}

func TestDelays(t *testing.T) {
	c := Conditions{Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond}
	due, _, _ := fates(newLane(3, 1), c, 1000)
	for i, at := range due {
		if sent := time.Duration(i) * time.Millisecond; at < sent+c.Delay || at > sent+c.Delay+c.Jitter || i > 0 && at < due[i-1] {
			t.Fatalf("frame %d, sent at %v, arrives at %v after one at %v", i, sent, at, due[max(0, i-1)])
		}
	}
	c.Reorder, c.Duplicate = 0.1, 0.25
	due, _, twice := fates(newLane(3, 1), c, 10000)
	near(t, "duplicates", float64(twice)/10000, 0.25, 0.02)
	late := 0
	for i := range due[1:] {
		if due[i+1] < due[i] {
			late++
		}
	}
	near(t, "overtaken", float64(late)/10000, 0.1, 0.03)
}

func TestRate(t *testing.T) {
	// 8 ms for each frame, one each millisecond: the queue of 40 ms fills.
	c := Conditions{Rate: 1e6, Queue: 40 * time.Millisecond}
	due, lost, _ := fates(newLane(1, 0), c, 800)
	near(t, "passed", float64(len(due)), 105, 2)
	if lost+len(due) != 800 {
		t.Errorf("%d lost and %d passed of 800", lost, len(due))
	}
	for i := range due[1:] {
		if gap := due[i+1] - due[i]; gap < 8*time.Millisecond {
			t.Fatalf("frames %v apart", gap)
		}
	}
}

// The same seed gives the same fates, another another, and a frame's luck does
// not depend on the conditions of earlier ones.
func TestSeed(t *testing.T) {
	c := Conditions{Loss: 0.3, Jitter: time.Millisecond, Duplicate: 0.2, Reorder: 0.1}
	run := func(seed uint64, before Conditions) (fate []int) {
		l := newLane(seed, 0)
		for range 50 {
			l.fate(&before, 0, 100)
		}
		for range 100 {
			_, copies := l.fate(&c, time.Second, 100)
			fate = append(fate, copies)
		}
		return fate
	}
	equal := func(a, b []int) bool {
		for i := range a {
			if a[i] != b[i] {
				return false
			}
		}
		return true
	}
	if !equal(run(1, Conditions{}), run(1, c)) || equal(run(1, c), run(2, c)) {
		t.Error("luck is not the seed's alone")
	}
}
