package relay

import (
	"sync/atomic"
	"time"
)

// Limits bound what sessions and connections take. A zero or negative field is
// its default. Limits for a session count both directions unless noted.
type Limits struct {
	FirstUse  time.Duration // from a grant to its first allocation; 10 min, which is the longest too
	Duration  time.Duration // of a session, from its grant; 24 h
	Bytes     int64         // payload of a session; 64 GiB
	Rate      int64         // bytes per second from each side of a session; 32 MiB. Each datagram counts 128 bytes more than its payload
	Grants    int           // at a time; 16,384
	PerClient int           // grants at a time for one client; 64
	PerDevice int           // grants at a time for one device; 1024
	Auth      time.Duration // from an accepted connection to its allocation; 10 s
}

const (
	maxFirstUse = 10 * time.Minute

	// allocationLifetime is what a client gets that asks for none.
	allocationLifetime = 10 * time.Minute
	// lastMoment is the end of an allocation's life in which it is not changed.
	lastMoment = time.Second
	// linger is how long a connection may outlive its allocation.
	linger = 2 * time.Second

	maxPayload = 1500 // of a relayed datagram
	maxMessage = 1600 // a STUN message that carries one

	udpQueue    = 512 // requests that wait for the library
	streamQueue = 4
	memoryQueue = 64        // datagrams that wait to be wrapped in Data indications
	earlyQueue  = 4         // of those, for a leg that has no allocation yet
	writeBuffer = 256 << 10 // what waits to be written to a connection, in bytes
	writeWait   = 10 * time.Second

	perDatagram = 128 // what a datagram costs above its payload
	burst       = 250 * time.Millisecond
)

func (l Limits) orDefaults() Limits {
	standard(&l.FirstUse, maxFirstUse)
	l.FirstUse = min(l.FirstUse, maxFirstUse)
	standard(&l.Duration, 24*time.Hour)
	standard(&l.Bytes, 64<<30)
	standard(&l.Rate, 32<<20)
	standard(&l.Grants, 16_384)
	standard(&l.PerClient, 64)
	standard(&l.PerDevice, 1024)
	standard(&l.Auth, 10*time.Second)
	return l
}

func standard[T ~int | ~int64](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// A rate admits datagrams at a number of bytes per second, with bursts. It
// holds the time at which what was admitted so far is paid for, in nanoseconds.
type rate struct{ paid atomic.Int64 }

// take reports whether n bytes of payload are admitted at the time now.
func (r *rate) take(n int, perSecond, now int64) bool {
	cost := int64(float64(n+perDatagram) * 1e9 / float64(perSecond))
	for {
		paid := r.paid.Load()
		if paid > now+int64(burst) {
			return false
		}
		if r.paid.CompareAndSwap(paid, max(paid, now)+cost) {
			return true
		}
	}
}
