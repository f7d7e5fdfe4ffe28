package stream

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// What the peer said before it ended the association is why everything ends.
func TestReasonBeforeTheEnd(t *testing.T) {
	client, _, p := both(t, path{})
	p.client.Ending(latchkey.ErrAbuse)
	if _, err := p.client.Open(t.Context(), "ssh"); !errors.Is(err, latchkey.ErrAbuse) {
		t.Errorf("open before the end: %v", err)
	}
	p.device.assoc.Load().Abort("")
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, latchkey.ErrAbuse) {
		t.Errorf("read: %v", err)
	}
	if _, err := p.client.Open(t.Context(), "ssh"); !errors.Is(err, latchkey.ErrAbuse) {
		t.Errorf("open after the end: %v", err)
	}
}

// A reason that comes after the end of the association is waited for, but not for
// long.
func TestReasonAfterTheEnd(t *testing.T) {
	for _, after := range []time.Duration{reasonTime / 2, 2 * reasonTime} {
		synctest.Test(t, func(t *testing.T) {
			m := New(Config{Client: true})
			start := time.Now()
			time.AfterFunc(after, func() { m.Ending(latchkey.ErrAbuse) })
			m.awaitReason()
			if took := time.Since(start); took != min(after, reasonTime) {
				t.Errorf("said after %v, waited %v", after, took)
			}
			time.Sleep(after)
			m.Close(nil)
			if !errors.Is(m.Err(), latchkey.ErrAbuse) {
				t.Errorf("ended with %v", m.Err())
			}
		})
	}
}
