package basestation

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// grantAnswers is how many answers of the relay a grant brings to the prefix
	// of either side: a challenge, what follows it, and once more if they are lost.
	grantAnswers = 4
	// maxAnswers is what a prefix holds at most.
	maxAnswers = 512
	// creditKeep is how long they may be used at least; at most twice as long.
	creditKeep = time.Minute
)

// A credit is answers that the relay may give without an account of the prefix
// they go to. A peer asks the relay from a port of its own, and the challenge
// that it gets is larger than its first request: with nothing but the budget for
// unproven sources it would repeat itself for seconds. The grant was asked for
// from that address by a proven peer, so a forger gains a few answers at most.
type credit struct {
	mu       sync.Mutex
	turned   time.Time
	now, old map[netip.Prefix]int // of this period and the last
}

// add notes a grant for a peer at an address.
func (c *credit) add(source netip.Addr, now time.Time) {
	p := prefixOf(source)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(now)
	c.now[p] = min(c.now[p]+grantAnswers, maxAnswers)
}

// take uses up one answer to an address, if there is one left.
func (c *credit) take(source netip.Addr, now time.Time) bool {
	p := prefixOf(source)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(now)
	for _, m := range []map[netip.Prefix]int{c.old, c.now} {
		if m[p] > 0 {
			m[p]--
			return true
		}
	}
	return false
}

// turn begins a new period when the present one is over.
func (c *credit) turn(now time.Time) {
	silent := now.Sub(c.turned)
	if c.now != nil && silent < creditKeep {
		return
	}
	c.old, c.now, c.turned = c.now, make(map[netip.Prefix]int), now
	if silent >= 2*creditKeep {
		c.old = nil
	}
}

// mayAnswer reports whether the relay need not mind its budget for unproven
// sources.
func (s *station) mayAnswer(source netip.AddrPort) bool {
	return s.legs.proven(source) || s.credit.take(source.Addr(), time.Now())
}
