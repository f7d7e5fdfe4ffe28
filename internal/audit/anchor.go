package audit

import (
	"log/slog"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey/acl"
)

// There is a pause between two writes of the anchor: a second at least, and so
// long that writing takes a twentieth of the time at most. With many users the
// store reads all of its file to write anything.
const (
	anchorPause = time.Second
	anchorShare = 20
)

// anchors keeps the anchor, in a goroutine of its own, because the store in which
// it is kept may be held up by the very change that waits for its record.
type anchors struct {
	set func(acl.Anchor) error
	log *slog.Logger

	mu     sync.Mutex
	latest acl.Anchor
	kick   chan struct{}
	stop   chan struct{}
	ended  chan struct{}
	err    error // of the last write; valid after ended
}

func newAnchors(set func(acl.Anchor) error, log *slog.Logger) *anchors {
	return &anchors{set: set, log: log, kick: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
}

// offer says that the log is on disk up to there.
func (a *anchors) offer(latest acl.Anchor) {
	a.mu.Lock()
	a.latest = latest
	a.mu.Unlock()
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// close writes the last anchor and returns after the goroutine has ended.
func (a *anchors) close() error {
	close(a.stop)
	<-a.ended
	return a.err
}

func (a *anchors) run() {
	defer close(a.ended)
	var done acl.Anchor
	pause := time.NewTimer(0)
	defer pause.Stop()
	for last := false; !last; {
		select {
		case <-a.kick:
			select {
			case <-pause.C:
			case <-a.stop:
				last = true
			}
		case <-a.stop:
			last = true
		}
		a.mu.Lock()
		latest := a.latest
		a.mu.Unlock()
		if a.set == nil || latest == done {
			pause.Reset(0)
			continue
		}
		failed := a.err != nil
		begin := time.Now()
		if a.err = a.set(latest); a.err == nil {
			done = latest
		} else if !failed {
			a.log.Error("end of the audit log cannot be kept", "err", a.err)
		}
		pause.Reset(max(anchorPause, anchorShare*time.Since(begin)))
	}
}
