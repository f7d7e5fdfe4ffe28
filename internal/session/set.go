package session

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// tickEvery is how often a Set looks after its sessions: fine enough for CoAP
// retransmission (ACK_TIMEOUT is 2 s, RFC 7252 section 4.8).
const tickEvery = 100 * time.Millisecond

// A Set is the live sessions of a program. One goroutine, the one in Run,
// looks after the timers of all of them. The zero Set is ready.
type Set struct {
	mu       sync.Mutex
	sessions map[*Session]struct{}
}

// Add puts s under the care of the set and returns how to take it out again.
func (t *Set) Add(s *Session) (remove func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions == nil {
		t.sessions = make(map[*Session]struct{})
	}
	t.sessions[s] = struct{}{}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.sessions, s)
	}
}

// All returns the sessions of this moment.
func (t *Set) All() []*Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.sessions))
}

// Run ticks the sessions until ctx ends.
func (t *Set) Run(ctx context.Context) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, s := range t.All() {
				s.tick(now)
			}
		}
	}
}
