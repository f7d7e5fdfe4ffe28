package device

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/latchkey-dev/latchkey"
)

const (
	// strikesLife is how long the refusals of a key count on after its last
	// session: as long as an empty budget takes to fill.
	strikesLife = time.Minute
	// maxStrikes keys without a session are remembered; the one that has rested
	// longest is forgotten first.
	maxStrikes = 1024
)

// strikes are the budgets of refusals, one for all sessions of a key. To dial again
// gives nobody a fresh one.
type strikes struct {
	mu   sync.Mutex
	keys map[latchkey.Fingerprint]*budget
}

type budget struct {
	*rate.Limiter
	sessions int
	rests    time.Time // since when there is no session; zero: there is
}

// begin returns the budget for a session that begins. end must follow.
func (t *strikes) begin(key latchkey.Fingerprint, l Limits, now time.Time) *rate.Limiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.keys[key]
	if b == nil || b.sessions == 0 && now.Sub(b.rests) >= strikesLife {
		b = &budget{Limiter: l.refusals()}
		if t.keys == nil {
			t.keys = make(map[latchkey.Fingerprint]*budget)
		}
		t.keys[key] = b
	}
	b.sessions++
	b.rests = time.Time{}
	return b.Limiter
}

func (t *strikes) end(key latchkey.Fingerprint, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.keys[key]
	if b.sessions--; b.sessions > 0 {
		return
	}
	if b.rests = now; b.TokensAt(now) >= float64(b.Burst()) {
		delete(t.keys, key)
	}
	t.forget(now)
}

// forget removes what has rested long enough, and what is too much.
func (t *strikes) forget(now time.Time) {
	resting, longest := 0, now
	var first latchkey.Fingerprint
	for key, b := range t.keys {
		switch {
		case b.sessions > 0:
			continue
		case now.Sub(b.rests) >= strikesLife:
			delete(t.keys, key)
			continue
		}
		if resting++; !b.rests.After(longest) {
			longest, first = b.rests, key
		}
	}
	if resting > maxStrikes {
		delete(t.keys, first)
	}
}
