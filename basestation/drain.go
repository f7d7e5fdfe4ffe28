package basestation

import (
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
)

const (
	drainTick  = 50 * time.Millisecond
	drainBatch = 256 // peers that are told in one tick
)

// drain tells all peers to move and gives relayed sessions until Limits.Drain to
// do so. Nobody attaches or connects any more.
func (s *station) drain() {
	s.draining.Store(true)
	s.events.add(Event{Kind: EventDraining})
	deadline := time.NewTimer(s.limits().Drain)
	defer deadline.Stop()
	ticker := time.NewTicker(drainTick)
	defer ticker.Stop()
	untold := s.legs.all()
	var telling sync.WaitGroup // bounded by byeTime
	defer telling.Wait()
	last := time.Now() // that a peer was told; it needs a moment to take that in
	moved := func() bool {
		peers, _ := s.legs.len()
		return len(untold) == 0 && s.relay.Stats().Allocations == 0 && (peers == 0 || time.Since(last) >= byeTime)
	}
	for {
		for _, l := range untold[:min(drainBatch, len(untold))] {
			telling.Go(func() { l.farewell(latchkey.CodeShutdown) })
			last = time.Now()
		}
		untold = untold[min(drainBatch, len(untold)):]
		if moved() {
			return
		}
		select {
		case <-deadline.C:
			return
		case <-ticker.C:
		}
	}
}
