package device

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// TestTwoOfOneIdentity lets two devices with the same key take each other's place
// for two hours: after two minutes there are fewer than four changes a minute,
// and they become rarer.
func TestTwoOfOneIdentity(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		upTo := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
		var waits [2]backoff
		var attached [2]time.Duration
		var next [2]time.Duration // when each attaches
		next[1] = time.Second
		holder := -1
		var kicks []time.Duration
		for now := time.Duration(0); now < 2*time.Hour; {
			n := 0
			if next[1] < next[0] {
				n = 1
			}
			now = next[n]
			if holder >= 0 && holder != n {
				kicks = append(kicks, now)
				next[holder] = now + waits[holder].next(latchkey.ErrReplaced, now-attached[holder], upTo)
			}
			holder, attached[n], next[n] = n, now, 1<<62
		}
		minutes := make(map[int]int)
		late := 0
		for _, k := range kicks {
			minutes[int(k/time.Minute)]++
			if k > time.Hour {
				late++
			}
		}
		for m, n := range minutes {
			if m >= 2 && n >= 4 {
				t.Errorf("seed %d: %d changes in minute %d", seed, n, m)
			}
		}
		if late > 6 {
			t.Errorf("seed %d: %d changes in the second hour", seed, late)
		}
		if len(kicks) < 3 {
			t.Errorf("seed %d: %d changes: this shows nothing", seed, len(kicks))
		}
	}
}

// TestBackoff: waits double from the first to the last, and what they are for
// decides how long they are.
func TestBackoff(t *testing.T) {
	all := func(d time.Duration) time.Duration { return d }
	tests := []struct {
		name   string
		err    error
		first  time.Duration
		last   time.Duration
		steady time.Duration // after it was attached for a while
	}{
		{"unreachable", latchkey.ErrOffline, time.Second, 30 * time.Second, time.Second},
		{"unknown key", latchkey.ErrNotRegistered, 10 * time.Second, 5 * time.Minute, 10 * time.Second},
		{"wrong id", latchkey.ErrWrongID, 10 * time.Second, 5 * time.Minute, 10 * time.Second},
		{"another basestation", latchkey.ErrIdentityChanged, 10 * time.Second, 5 * time.Minute, 10 * time.Second},
		{"replaced", latchkey.ErrReplaced, 2 * time.Minute, time.Hour, time.Hour},
	}
	for _, tt := range tests {
		var b backoff
		if got := b.next(tt.err, 0, all); got != tt.first {
			t.Errorf("%s: first %v, want %v", tt.name, got, tt.first)
		}
		var got time.Duration
		for range 12 {
			got = b.next(tt.err, 0, all)
		}
		if got != tt.last {
			t.Errorf("%s: last %v, want %v", tt.name, got, tt.last)
		}
		if got = b.next(tt.err, time.Hour, all); got != tt.steady {
			t.Errorf("%s: after an hour %v, want %v", tt.name, got, tt.steady)
		}
	}
	var b backoff
	b.next(latchkey.ErrReplaced, 0, all)
	if got := b.next(latchkey.ErrOffline, 0, all); got != time.Second {
		t.Errorf("another reason: %v", got)
	}
}
