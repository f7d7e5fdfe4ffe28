package world

import (
	"math"
	"math/rand/v2"
	"time"
)

// Conditions of one direction of a Wire. The zero value passes every frame at
// once.
type Conditions struct {
	Delay  time.Duration // of every frame
	Jitter time.Duration // up to this more, without changing the order

	Loss  float64 // share of frames lost, 0 to 1; 1 is a cut wire
	Burst float64 // mean number of frames lost in a row; up to 1: independently

	Duplicate float64       // share of frames that arrive twice
	Reorder   float64       // share of frames that are held back while others overtake
	Hold      time.Duration // how long those are held; zero: 10 ms

	Rate  int64         // bits per second; zero: no limit
	Queue time.Duration // the longest wait for the rate, beyond which frames are lost; zero: 100 ms
}

const (
	defaultHold  = 10 * time.Millisecond
	defaultQueue = 100 * time.Millisecond
)

// A lane decides what becomes of the frames of one direction. Its times are
// since any fixed moment. The same seed, frames and times give the same fate.
type lane struct {
	rng    *rand.Rand
	losing bool          // in a burst of losses
	sent   time.Duration // when the rate has passed on all earlier frames
	last   time.Duration // when the latest frame that keeps the order arrives
}

func newLane(seed uint64, direction uint64) *lane {
	return &lane{rng: rand.New(rand.NewPCG(seed, direction))}
}

// fate returns when a frame of n bytes that was sent now arrives: never, once
// or twice. Every frame draws the same number of random values, so that a
// change of conditions does not change the luck of later frames.
func (l *lane) fate(c *Conditions, now time.Duration, n int) (due [2]time.Duration, copies int) {
	loss, jitter, duplicate, reorder := l.rng.Float64(), l.rng.Float64(), l.rng.Float64(), l.rng.Float64()
	if l.lost(c, loss) {
		return due, 0
	}
	leaves := now
	if c.Rate > 0 {
		leaves = max(now, l.sent)
		queue := c.Queue
		if queue == 0 {
			queue = defaultQueue
		}
		if leaves-now > queue {
			return due, 0
		}
		leaves += time.Duration(int64(n) * 8 * int64(time.Second) / c.Rate)
		l.sent = leaves
	}
	at := leaves + c.Delay + time.Duration(jitter*float64(c.Jitter))
	if reorder < c.Reorder {
		hold := c.Hold
		if hold == 0 {
			hold = defaultHold
		}
		at += hold
	} else {
		at = max(at, l.last)
		l.last = at
	}
	due = [2]time.Duration{at, at}
	if duplicate < c.Duplicate {
		return due, 2
	}
	return due, 1
}

// lost decides by the two states of Gilbert's model: in a burst every frame is
// lost, and bursts begin so often that the share of lost frames is c.Loss.
func (l *lane) lost(c *Conditions, luck float64) bool {
	switch {
	case c.Loss <= 0:
		l.losing = false
	case c.Loss >= 1:
		l.losing = true
	case c.Burst <= 1:
		l.losing = luck < c.Loss
	case l.losing:
		l.losing = luck >= 1/c.Burst
	default:
		l.losing = luck < math.Min(1, c.Loss/((1-c.Loss)*c.Burst))
	}
	return l.losing
}
