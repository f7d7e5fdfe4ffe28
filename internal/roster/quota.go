package roster

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// SelfChanges is how often users may change themselves in a minute, or try to.
// Each change is written to disk and to the audit log, and has everything judged
// again that is under way.
const SelfChanges = 20

// maxQuotas is how many users a Quota remembers before it forgets those who have
// all of theirs.
const maxQuotas = 1024

// A Quota counts how often users change themselves. The zero Quota is ready for
// use, by many goroutines at once.
type Quota struct {
	mu   sync.Mutex
	left map[string]*rate.Limiter // by name of the user
}

// take reports whether a user may try once more.
func (q *Quota) take(user string) bool {
	if q == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.left[user]
	if l == nil {
		q.forget()
		l = rate.NewLimiter(rate.Every(time.Minute/SelfChanges), SelfChanges)
		q.left[user] = l
	}
	return l.Allow()
}

// forget makes room.
func (q *Quota) forget() {
	if q.left == nil {
		q.left = make(map[string]*rate.Limiter)
	}
	if len(q.left) < maxQuotas {
		return
	}
	for user, l := range q.left {
		if l.Tokens() >= SelfChanges {
			delete(q.left, user)
		}
	}
}

// rename has a user keep its count under another name.
func (q *Quota) rename(from, to string) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if l := q.left[from]; l != nil && from != to {
		delete(q.left, from)
		q.left[to] = l
	}
}
