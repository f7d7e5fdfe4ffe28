package basestation

import (
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
	told := s.legs.all()
	for {
		now := told[:min(drainBatch, len(told))]
		told = told[len(now):]
		for _, l := range now {
			s.start(func() { l.farewell(latchkey.CodeShutdown) }) // bounded by byeTime
		}
		if len(told) == 0 && s.relay.Stats().Allocations == 0 {
			return
		}
		select {
		case <-deadline.C:
			return
		case <-ticker.C:
		}
	}
}
