package stream

import (
	"net"
	"os"
	"time"
)

// A signal wakes one goroutine that waits on it, now or when it next waits.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) set() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// A deadline is that of reads or of writes; its owner locks it.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

// set sets the time, or none if t is zero, and wakes whoever waits when it
// comes and now, so that it sees the change.
func (d *deadline) set(t time.Time, wake signal) {
	d.stop()
	d.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, wake.set)
	}
	wake.set()
}

// err is os.ErrDeadlineExceeded once the time has come.
func (d *deadline) err() error {
	if d.at.IsZero() || time.Now().Before(d.at) {
		return nil
	}
	return os.ErrDeadlineExceeded
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// An Addr names an end of a tunnel.
type Addr struct {
	network string
	Service string
}

var _ net.Addr = Addr{}

// Network returns "tcp" for a Stream and "udp" for a Flow, after what it
// behaves like.
func (a Addr) Network() string { return a.network }

// String returns the service.
func (a Addr) String() string { return a.Service }
