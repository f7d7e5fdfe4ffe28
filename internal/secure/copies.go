package secure

import (
	"net/netip"
	"time"
)

const (
	// maxCopies records are remembered with the way they came, at most one in
	// copyGap, each for copyLife.
	maxCopies = 8
	copyGap   = copyLife / maxCopies
	copyLife  = 2 * time.Second
)

// Copies recognize a record that comes a second time by another way. While a
// peer sends on several paths only the fastest brings news, and the others would
// seem dead. So a copy of a record counts as a sign of life, if
//
//   - it comes from another source than the record did, and
//   - within copyLife of it, and
//   - no copy of this record has counted before, and
//   - the peer's keys vouch for it.
//
// A few records a second are enough for that, so only those are remembered. Who
// records datagrams of one path and replays them on another gains what he could
// have by being first, for as long as the session lives by the first path; a
// path alone is never kept alive by copies. A forged copy costs an attempt to
// open it, like a forged record with any new number.
type copies struct {
	list [maxCopies]original
	next int // place of the next one
}

// An original is a record that came, and how.
type original struct {
	number uint64
	src    netip.AddrPort // invalid: nothing is known
	at     time.Time
}

// came notes that a record has come, genuine and for the first time.
func (c *copies) came(number uint64, src netip.AddrPort, now time.Time) {
	last := c.list[(c.next+maxCopies-1)%maxCopies].at
	if src.IsValid() && (last.IsZero() || now.Sub(last) >= copyGap) {
		c.list[c.next] = original{number, src, now}
		c.next = (c.next + 1) % maxCopies
	}
}

// of returns the original that a record from src would count as a copy of, if
// it is genuine; nil if there is none.
func (c *copies) of(number uint64, src netip.AddrPort) *original {
	if !src.IsValid() {
		return nil
	}
	for i := range c.list {
		o := &c.list[i]
		if o.number == number && o.src.IsValid() && o.src != src && time.Since(o.at) <= copyLife {
			return o
		}
	}
	return nil
}
