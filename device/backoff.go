package device

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// A trouble is why a device is not attached, by how soon it makes sense to try
// again.
type trouble int

const (
	unreached trouble = iota // nobody answers
	unwanted                 // the basestation does not want us
	ousted                   // another device took our place
)

// Waits before a device attaches again. Each is drawn at random from nothing up
// to a ceiling that doubles from first to last, so that devices that lost their
// basestation at the same moment do not return at the same moment.
var waits = map[trouble]struct{ first, last time.Duration }{
	unreached: {time.Second, 30 * time.Second},
	unwanted:  {10 * time.Second, 5 * time.Minute},
	ousted:    {time.Minute, 30 * time.Minute},
}

// steady is how long a device must have been attached for the past to be
// forgotten.
const steady = time.Minute

// A backoff says how long to wait before attaching again.
type backoff struct {
	ceiling time.Duration
	last    trouble
}

// next takes why the device is not attached any more, and how long it was.
func (b *backoff) next(err error, attached time.Duration, random func(time.Duration) time.Duration) time.Duration {
	now := troubleOf(err)
	if attached >= steady && now != ousted || now != b.last {
		b.ceiling = 0
	}
	b.last = now
	b.ceiling = min(max(2*b.ceiling, waits[now].first), waits[now].last)
	if now == ousted {
		return b.ceiling + random(b.ceiling) // never sooner, or two devices take turns
	}
	return random(b.ceiling)
}

func troubleOf(err error) trouble {
	switch {
	case errors.Is(err, latchkey.ErrReplaced):
		return ousted
	case errors.Is(err, latchkey.ErrNotRegistered), errors.Is(err, latchkey.ErrWrongID), errors.Is(err, latchkey.ErrRevoked),
		errors.Is(err, latchkey.ErrForbidden), errors.Is(err, latchkey.ErrTooMany), errors.Is(err, latchkey.ErrIdentityChanged):
		return unwanted
	}
	return unreached
}

// upTo returns a random time below d.
func upTo(d time.Duration) time.Duration { return rand.N(d) }
