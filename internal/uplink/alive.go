package uplink

import (
	"context"
	"time"
)

const (
	// pings of Answers: one datagram may be lost, and the next as well.
	pings = 3
	// pingFirst is the pause between them, or the round trip if that is longer.
	pingFirst = 170 * time.Millisecond
)

// Took says how long a request and its answer took, so that Answers does not
// take a long way for a dead one.
func (u *Uplink) Took(d time.Duration) {
	u.roundTrip.Store(int64(d))
}

// Answers reports whether the basestation answers one of three pings, within
// half a second or three round trips.
func (u *Uplink) Answers(ctx context.Context) bool {
	pause := max(pingFirst, time.Duration(u.roundTrip.Load()))
	ctx, cancel := context.WithTimeout(ctx, pings*pause)
	defer cancel()
	answered := make(chan bool, pings)
	for range pings {
		go func() { answered <- u.coap.Ping(ctx) == nil }() // ends with ctx
		next := time.NewTimer(pause)
		select {
		case ok := <-answered:
			next.Stop()
			if ok || ctx.Err() != nil {
				return ok
			}
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return false
		}
	}
	return false
}
