package cli

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progressEvery is how often the line is drawn anew.
const progressEvery = 500 * time.Millisecond

// ShowProgress keeps a line of bytes and rates on a terminal while the counters
// move, and takes it away while they rest. It runs until stop is called, which
// may be done more than once.
func ShowProgress(w io.Writer, sent, received func() int64) (stop func()) {
	done := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() { // ends with stop
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		p := progress{w: w}
		defer p.clear()
		for {
			select {
			case <-done:
				return
			case now := <-tick.C:
				p.step(now, sent(), received())
			}
		}
	})
	return sync.OnceFunc(func() {
		close(done)
		work.Wait()
	})
}

// A progress is the state of the line.
type progress struct {
	w              io.Writer
	sent, received int64
	last           time.Time
	shown          bool
}

func (p *progress) step(now time.Time, sent, received int64) {
	elapsed := now.Sub(p.last).Seconds()
	up, down := float64(sent-p.sent), float64(received-p.received)
	first := p.last.IsZero()
	p.sent, p.received, p.last = sent, received, now
	if first || elapsed <= 0 {
		return
	}
	if up+down == 0 {
		p.clear()
		return
	}
	p.shown = true
	fmt.Fprintf(p.w, "\r\x1b[Ksent %s, %s/s; received %s, %s/s",
		Bytes(float64(sent)), Bytes(up/elapsed), Bytes(float64(received)), Bytes(down/elapsed))
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

// Bytes writes a number of bytes with three digits and a binary prefix.
func Bytes(n float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		switch {
		case n >= 1000:
			n /= 1024
		case unit == "B" || n >= 100:
			return fmt.Sprintf("%.0f %s", n, unit)
		case n >= 10:
			return fmt.Sprintf("%.1f %s", n, unit)
		default:
			return fmt.Sprintf("%.2f %s", n, unit)
		}
	}
	return fmt.Sprintf("%.2f TiB", n)
}
