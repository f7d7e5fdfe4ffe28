package device

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// Waits before a device attaches again. Each is drawn at random from nothing up
// to a ceiling that doubles, so that devices that lost their basestation at the
// same moment do not return at the same moment.
const (
	reachFirst, reachLast     = time.Second, 30 * time.Second     // nobody answers
	refuseFirst, refuseLast   = 10 * time.Second, 5 * time.Minute // the basestation does not want us
	replaceFirst, replaceLast = time.Minute, 30 * time.Minute     // another device took our place
	steady                    = time.Minute                       // attached for this long, the past is forgotten
)

// A backoff says how long to wait before attaching again.
type backoff struct {
	ceiling time.Duration
	kind    error // of the last failure
}

// next takes why the device is not attached any more, and how long it was.
func (b *backoff) next(err error, attached time.Duration, random func(time.Duration) time.Duration) time.Duration {
	kind, first, last := kindOf(err)
	if attached >= steady && kind != latchkey.ErrReplaced || kind != b.kind {
		b.ceiling = 0
	}
	b.kind = kind
	b.ceiling = min(max(2*b.ceiling, first), last)
	if kind == latchkey.ErrReplaced {
		return b.ceiling + random(b.ceiling) // never sooner, or two devices take turns
	}
	return random(b.ceiling)
}

// kindOf sorts failures by how soon it makes sense to try again.
func kindOf(err error) (kind error, first, last time.Duration) {
	switch {
	case errors.Is(err, latchkey.ErrReplaced):
		return latchkey.ErrReplaced, replaceFirst, replaceLast
	case errors.Is(err, latchkey.ErrNotRegistered), errors.Is(err, latchkey.ErrWrongID), errors.Is(err, latchkey.ErrRevoked),
		errors.Is(err, latchkey.ErrForbidden), errors.Is(err, latchkey.ErrTooMany), errors.Is(err, latchkey.ErrIdentityChanged):
		return latchkey.ErrForbidden, refuseFirst, refuseLast
	}
	return nil, reachFirst, reachLast
}

// upTo returns a random time below d.
func upTo(d time.Duration) time.Duration { return rand.N(d) }
