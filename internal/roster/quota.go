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

// SelfChangesDay is how often they may do so day after day. What the audit log
// keeps of a month leaves room for some 15 users who always do.
const SelfChangesDay = 100

// maxQuotas is how many users a Quota remembers before it forgets those who have
// all of theirs.
const maxQuotas = 1024

// A Quota counts how often users change themselves. The zero Quota is ready for
// use, by many goroutines at once.
type Quota struct {
	mu   sync.Mutex
	left map[string]allowance // by name of the user
}

// An allowance is what one user has left.
type allowance struct{ minute, day *rate.Limiter }

func newAllowance() allowance {
	return allowance{
		minute: rate.NewLimiter(rate.Every(time.Minute/SelfChanges), SelfChanges),
		day:    rate.NewLimiter(rate.Every(24*time.Hour/SelfChangesDay), SelfChangesDay),
	}
}

// full reports whether nothing of it was used.
func (a allowance) full() bool {
	return a.minute.Tokens() >= SelfChanges && a.day.Tokens() >= SelfChangesDay
}

// take reports whether a user may try once more.
func (q *Quota) take(user string) bool {
	if q == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	a, ok := q.left[user]
	if !ok {
		q.forget()
		a = newAllowance()
		q.left[user] = a
	}
	return a.minute.Allow() && a.day.Allow()
}

// forget makes room.
func (q *Quota) forget() {
	if q.left == nil {
		q.left = make(map[string]allowance)
	}
	if len(q.left) < maxQuotas {
		return
	}
	for user, a := range q.left {
		if a.full() {
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
	if a, ok := q.left[from]; ok && from != to {
		delete(q.left, from)
		q.left[to] = a
	}
}
