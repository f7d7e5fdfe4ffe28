package basestation

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A flushed registry counts.
type flushed struct {
	Registry
	count int
}

func (f *flushed) Flush() error {
	f.count++
	return errors.New("the disk is full")
}

// TestKeepSeen keeps what was seen every minute, also after a failure.
func TestKeepSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &flushed{}
		s := &station{registry: r, log: quiet}
		ctx, cancel := context.WithCancel(t.Context())
		go s.keepSeen(ctx)
		time.Sleep(3*time.Minute + time.Second)
		cancel()
		synctest.Wait()
		if r.count != 3 {
			t.Errorf("%d times in three minutes", r.count)
		}
	})
}
