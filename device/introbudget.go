package device

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/latchkey-dev/latchkey"
)

// The device's own budget for introductions, whatever the basestation says.
// All together get introRate a second, so that checking signatures costs little;
// one key gets a share, so that no client takes it all from the others.
const (
	introRate, introBurst = 8, 32
	shareRate, shareBurst = 1, 16
	// maxShares keys have a share of their own; more are refused until one has
	// rested for as long as it takes to fill a share.
	maxShares = 1024
)

type introBudget struct {
	all *rate.Limiter

	mu     sync.Mutex
	shares map[latchkey.Fingerprint]*rate.Limiter
}

func newIntroBudget() *introBudget {
	return &introBudget{all: rate.NewLimiter(introRate, introBurst), shares: make(map[latchkey.Fingerprint]*rate.Limiter)}
}

// any spends one introduction of somebody.
func (b *introBudget) any(now time.Time) bool { return b.all.AllowN(now, 1) }

// of spends one introduction of a key.
func (b *introBudget) of(key latchkey.Fingerprint, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	share := b.shares[key]
	if share == nil {
		if len(b.shares) >= maxShares {
			b.rest(now)
		}
		if len(b.shares) >= maxShares {
			return false
		}
		share = rate.NewLimiter(shareRate, shareBurst)
		b.shares[key] = share
	}
	return share.AllowN(now, 1)
}

// rest forgets the shares that are full.
func (b *introBudget) rest(now time.Time) {
	for key, share := range b.shares {
		if share.TokensAt(now) >= shareBurst {
			delete(b.shares, key)
		}
	}
}
