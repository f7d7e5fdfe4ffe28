package stream

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// floorCredit is what every stream has: the payload that may come before
	// the answer to an open (docs/protocol.md section 6.3), and one message.
	floorCredit = 16 << 10
	// startCredit is what an accepted stream begins with while there is plenty.
	startCredit = 256 << 10
	// growWithin bounds the time in which a whole window has to be read for it
	// to grow, in round trips and at least: a reader that takes longer is not
	// held up by its credit.
	growRoundTrips = 4
	growAtLeast    = 50 * time.Millisecond
)

// A Budget bounds the bytes of credit that several sessions give together.
type Budget struct {
	mu   sync.Mutex
	size int64
	free int64
}

// NewBudget returns a budget of n bytes. One for a whole process bounds what
// all its peers together may have in its buffers.
func NewBudget(n int64) *Budget { return &Budget{size: n, free: n} }

// take takes n bytes, or nothing if there are fewer. A nil Budget has no end.
func (b *Budget) take(n int64) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.free {
		return false
	}
	b.free -= n
	return true
}

func (b *Budget) give(n int64) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
}

// scarce says that less than three eighths are free. That is more than grow
// leaves, so that whoever has much gives back while others cannot grow.
func (b *Budget) scarce() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.free < b.size*3/8
}

// A pool is the credit of one session beyond the floor of its streams. It
// gives a part of what is left, never all, so that whoever comes next finds
// some; what it gives also comes out of the budget of the process.
type pool struct {
	elastic Budget
	process *Budget
	streams atomic.Int64 // that have a floor
}

func newPool(elastic int64, process *Budget) *pool {
	return &pool{elastic: Budget{size: elastic, free: elastic}, process: process}
}

// open takes the floor of a new stream. It reports false when the budget of
// the process is used up.
func (p *pool) open() bool {
	if !p.process.take(floorCredit) {
		return false
	}
	p.streams.Add(1)
	return true
}

// fair is what a stream keeps when others want more: half of an even share. A
// stream whose reader has stopped gives nothing back, so without this its
// neighbours would, until they were slow.
func (p *pool) fair() int64 { return p.elastic.size / (2 * max(p.streams.Load(), 1)) }

// start returns how much a stream gets beyond its floor when it is accepted.
func (p *pool) start() int64 {
	return p.take(func(free int64) int64 { return min(startCredit-floorCredit, free/8) })
}

// grow returns how much more a stream gets that wants n more.
func (p *pool) grow(n int64) int64 {
	return p.take(func(free int64) int64 { return min(n, (free-p.elastic.size/4)/2) })
}

func (p *pool) take(share func(free int64) int64) int64 {
	b := &p.elastic
	b.mu.Lock()
	defer b.mu.Unlock()
	n := max(share(b.free), 0)
	if !p.process.take(n) {
		return 0
	}
	b.free -= n
	return n
}

// give takes back n bytes, of which floor were the floor of a stream.
func (p *pool) give(n, floor int64) {
	p.elastic.give(n - floor)
	p.process.give(n)
	if floor > 0 {
		p.streams.Add(-1)
	}
}

func (p *pool) scarce() bool { return p.elastic.scarce() || p.process.scarce() }

// A window is the credit that one stream gives its sender. The sender may be
// at most size bytes ahead of the reader, so received <= granted <= read+size
// always holds. Its owner locks it.
type window struct {
	pool *pool
	size int64 // taken from the pool and its floor; 0 when given back

	granted  int64 // absolute offset that the peer was told
	received int64
	read     int64

	starved bool // the reader waited since the last grant
	mark    int64
	since   time.Time // when read was at mark
}

// open begins with the floor.
func (w *window) open(p *pool) { *w = window{pool: p, size: floorCredit, granted: floorCredit} }

// start widens the window of an accepted stream and returns its first credit.
// A window that is closed, because nothing will come, stays closed.
func (w *window) start(now time.Time) int64 {
	if w.size == 0 {
		return w.granted
	}
	w.size += w.pool.start()
	w.since = now
	w.granted = w.read + w.size
	return w.granted
}

// receive counts n bytes of payload. It reports false if the peer had no
// credit for them.
func (w *window) receive(n int) bool {
	w.received += int64(n)
	return w.received <= w.granted
}

// consume counts n bytes that the reader took and returns the credit that the
// peer has to be told, 0 if it is too early for that.
func (w *window) consume(n int, now time.Time, rtt time.Duration) int64 {
	w.read += int64(n)
	if w.size == 0 || w.granted-w.read > w.size-w.size/4 {
		return 0
	}
	w.adapt(now, rtt)
	w.granted = max(w.granted, w.read+w.size)
	return w.granted
}

// adapt grows the window of a reader that its sender cannot keep busy, and
// shrinks it when the session runs short, by what the peer does not have yet.
func (w *window) adapt(now time.Time, rtt time.Duration) {
	spare := w.read + w.size - w.granted
	switch {
	case w.pool.scarce():
		if back := min(spare, w.size/8, w.size-max(floorCredit, w.pool.fair())); back > 0 {
			w.size -= back
			w.pool.give(back, 0)
		}
	case w.starved && w.read-w.mark >= w.size:
		if now.Sub(w.since) <= max(growRoundTrips*rtt, growAtLeast) {
			w.size += w.pool.grow(w.size)
		}
		w.mark, w.since = w.read, now
	}
	w.starved = false
}

// close gives everything back. No credit is given afterwards.
func (w *window) close() {
	if w.size > 0 {
		w.pool.give(w.size, floorCredit)
		w.size = 0
	}
}
