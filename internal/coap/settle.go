package coap

import "time"

// Settle returns when those who wait for the answers that have arrived have taken
// them, or after limit. Close after it takes no answer from anybody.
func (e *Endpoint) Settle(limit time.Duration) {
	e.mu.Lock()
	var taken []chan struct{}
	for _, x := range e.exchanges {
		if x.answered {
			taken = append(taken, x.taken)
		}
	}
	e.mu.Unlock()
	if len(taken) == 0 {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for _, done := range taken {
		select {
		case <-done:
		case <-timer.C:
			return
		}
	}
}
