package coap

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// A link carries datagrams between two endpoints in memory, in the order they
// were sent, on a goroutine for each direction.
type link struct {
	a, b *Endpoint
	ab   chan []byte
	ba   chan []byte
	// tamper, when set, returns what becomes of a datagram from a (or b).
	mu     sync.Mutex
	tamper func(fromA bool, d []byte) [][]byte
	stop   chan struct{}
	group  sync.WaitGroup
}

// newLink connects two endpoints and ticks them until the test ends.
func newLink(t testing.TB, a, b Config) *link {
	t.Helper()
	l := &link{ab: make(chan []byte, 4096), ba: make(chan []byte, 4096), stop: make(chan struct{})}
	a.Send, b.Send = l.sender(true), l.sender(false)
	if a.Log == nil {
		a.Log = quiet
	}
	if b.Log == nil {
		b.Log = quiet
	}
	l.a, l.b = New(a), New(b)
	l.group.Go(func() { l.pump(l.ab, l.b) })
	l.group.Go(func() { l.pump(l.ba, l.a) })
	l.group.Go(l.tick)
	t.Cleanup(l.close)
	return l
}

func (l *link) close() {
	l.a.Close()
	l.b.Close()
	l.a.Wait()
	l.b.Wait()
	close(l.stop)
	l.group.Wait()
}

func (l *link) sender(fromA bool) func([]byte) error {
	return func(d []byte) error {
		l.mu.Lock()
		tamper := l.tamper
		l.mu.Unlock()
		list := [][]byte{d}
		if tamper != nil {
			list = tamper(fromA, d)
		}
		to := l.ab
		if !fromA {
			to = l.ba
		}
		for _, d := range list {
			select {
			case to <- bytes.Clone(d):
			default: // full: lost
			}
		}
		return nil
	}
}

func (l *link) pump(from chan []byte, to *Endpoint) {
	for {
		select {
		case d := <-from:
			to.Deliver(d)
			for i := range d { // a reader uses its buffer again
				d[i] = 0xff
			}
		case <-l.stop:
			return
		}
	}
}

func (l *link) tick() {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			l.a.Tick(now)
			l.b.Tick(now)
		case <-l.stop:
			return
		}
	}
}

func echo(_ context.Context, r *Request) *Response {
	a := NewResponse(Content)
	a.Format = TextPlain
	a.Body = []byte("hello")
	return a
}

func TestGet(t *testing.T) {
	l := newLink(t, Config{}, Config{Handler: echo})
	r, err := l.a.Do(t.Context(), NewRequest(GET, "light", "1"))
	if err != nil || r.Code != Content || string(r.Body) != "hello" || r.Format != TextPlain {
		t.Fatalf("%v %v", r, err)
	}
}
