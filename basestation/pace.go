package basestation

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	paceKeys = 65_536 // of one period
	paceKeep = time.Minute
)

// A pace limits how often something happens for each of many keys. It remembers
// the keys of the last one to two minutes, and at most twice paceKeys of them:
// beyond that, new keys share one allowance.
type pace[K comparable] struct {
	every time.Duration
	burst int

	mu       sync.Mutex
	turned   time.Time
	now, old map[K]*rate.Limiter
	rest     *rate.Limiter
}

func newPace[K comparable](every time.Duration, burst int) *pace[K] {
	return &pace[K]{every: every, burst: burst, now: make(map[K]*rate.Limiter), rest: rate.NewLimiter(rate.Every(every), burst)}
}

// allow reports whether it may happen once more, and counts it.
func (p *pace[K]) allow(k K, now time.Time) bool { return p.of(k, now).AllowN(now, 1) }

// spent reports whether it may not happen now, and counts nothing.
func (p *pace[K]) spent(k K, now time.Time) bool { return p.of(k, now).TokensAt(now) < 1 }

func (p *pace[K]) of(k K, now time.Time) *rate.Limiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.turned) >= paceKeep {
		p.turned, p.old, p.now = now, p.now, make(map[K]*rate.Limiter)
	}
	if l := p.now[k]; l != nil {
		return l
	}
	if len(p.now) >= paceKeys {
		return p.rest
	}
	l := p.old[k]
	if l == nil {
		l = rate.NewLimiter(rate.Every(p.every), p.burst)
	}
	p.now[k] = l
	return l
}
