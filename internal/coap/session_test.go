package coap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"
)

// weather loses, doubles and delays datagrams, each with its chance in percent.
type weather struct {
	mu                  sync.Mutex
	rand                *rand.Rand
	lose, double, delay int
	held                [2][][]byte
}

func newWeather(t *testing.T, lose, double, delay int) *weather {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return &weather{rand: rand.New(rand.NewPCG(seed, 0)), lose: lose, double: double, delay: delay}
}

func (w *weather) tamper(fromA bool, d []byte) [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	side := 0
	if fromA {
		side = 1
	}
	var out [][]byte
	if w.rand.IntN(100) >= w.lose {
		out = append(out, d)
	}
	if w.rand.IntN(100) < w.double {
		out = append(out, d)
	}
	if len(out) > 0 && w.rand.IntN(100) < w.delay {
		w.held[side] = append(w.held[side], out...)
		return nil
	}
	out = append(out, w.held[side]...)
	w.held[side] = nil
	return out
}

// TestBadWeather runs every kind of exchange over a bad path: each request runs
// at most once, and exactly once if it was answered; bodies arrive whole.
func TestBadWeather(t *testing.T) {
	const requests, size = 300, 3000
	var ran [requests]atomic.Int32
	cfg := Config{AckTimeout: 15 * time.Millisecond, Uploads: 64, Downloads: 64}
	server := cfg
	server.Handler = func(_ context.Context, r *Request) *Response {
		var i int
		if _, err := fmt.Sscan(r.Query[0], &i); err != nil {
			t.Error(err)
		}
		ran[i].Add(1)
		if i%10 == 0 {
			time.Sleep(20 * time.Millisecond) // a separate answer
		}
		a := NewResponse(Changed)
		a.Body = append([]byte(r.Query[0]+":"), r.Body...)
		return a
	}
	l := newLink(t, cfg, server)
	l.tamper = newWeather(t, 10, 20, 10).tamper
	var group sync.WaitGroup
	var lost atomic.Int32
	for worker := range 10 {
		group.Go(func() {
			for i := worker; i < requests; i += 10 {
				r := NewRequest(POST, "a")
				r.Query = []string{fmt.Sprint(i)}
				if i%3 == 0 {
					r.Body = noise(size)
				}
				a, err := l.a.Do(t.Context(), r)
				switch n := ran[i].Load(); {
				case errors.Is(err, ErrNoAnswer):
					lost.Add(1)
					if n > 1 {
						t.Errorf("request %d ran %d times", i, n)
					}
				case err != nil:
					t.Errorf("request %d: %v", i, err)
				case n != 1 || a.Code != Changed || !bytes.Equal(a.Body, append(fmt.Appendf(nil, "%d:", i), r.Body...)):
					t.Errorf("request %d ran %d times, answer %v with %d bytes", i, n, a.Code, len(a.Body))
				}
			}
		})
	}
	group.Wait()
	if lost.Load() > requests/10 {
		t.Errorf("%d of %d requests were lost", lost.Load(), requests)
	}
}

// TestObserveInBadWeather ends with the latest state on the other side.
func TestObserveInBadWeather(t *testing.T) {
	s := newSource()
	s.state = []byte("0")
	cfg := Config{AckTimeout: 15 * time.Millisecond}
	server := cfg
	server.Handler = s.handle
	l := newLink(t, cfg, server)
	l.tamper = newWeather(t, 5, 20, 20).tamper
	ctx, cancel := context.WithCancel(t.Context())
	states := make(chan string, 1000)
	done := start(func() error {
		return l.a.Observe(ctx, NewRequest(GET, "a"), func(r *Response) { states <- string(r.Body) })
	})
	o := <-s.came
	for i := range 50 {
		s.set(fmt.Append(nil, i+1))
	}
	for got := ""; got != "50"; {
		select {
		case got = <-states:
		case <-o.Done():
			t.Fatal("the observation was lost")
		case <-time.After(10 * time.Second):
			t.Fatalf("the latest state did not come; last was %s", got)
		}
	}
	cancel()
	<-done
}

// TestManyRequests sends more requests in one session than there are message
// ids.
func TestManyRequests(t *testing.T) {
	const requests, workers = manyRequests, 8
	var ran atomic.Int64
	var x, y *Endpoint
	x = New(Config{Log: quiet, Send: func(d []byte) error { y.Deliver(d); return nil }})
	y = New(Config{Log: quiet, Handler: counting(&ran), Send: func(d []byte) error { x.Deliver(d); return nil }})
	defer func() { x.Close(); y.Close(); x.Wait(); y.Wait() }()
	// One message stays unacknowledged all the while; its id is not taken.
	stuck := &pending{}
	x.mu.Lock()
	x.outbox.add(x.outbox.nextID()+100, stuck)
	x.mu.Unlock()
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range requests / workers {
				if a, err := x.Do(t.Context(), NewRequest(POST, "a")); err != nil || a.Code != Content {
					t.Errorf("%v %v", a, err)
					return
				}
			}
		})
	}
	group.Wait()
	if ran.Load() != requests {
		t.Errorf("%d of %d requests ran", ran.Load(), requests)
	}
	if x.outbox.byID[stuck.id] != stuck || len(x.outbox.byID) != 1 || len(x.exchanges) != 0 {
		t.Errorf("%d messages, %d exchanges are left", len(x.outbox.byID), len(x.exchanges))
	}
	if n := y.replies.unsafe.bytes; n > replyBytes {
		t.Errorf("%d bytes of replies", n)
	}
}

// TestNoStorm lets requests time out on both sides of a path so slow that every
// answer comes too late: what is refused breeds nothing.
func TestNoStorm(t *testing.T) {
	var datagrams atomic.Int64
	l := newLink(t, Config{Handler: echo}, Config{Handler: echo})
	late := make(chan []byte, 100)
	l.tamper = func(fromA bool, d []byte) [][]byte {
		datagrams.Add(1)
		if fromA || Code(d[1]).Class() == 0 {
			return [][]byte{d}
		}
		late <- d // answers to a
		return nil
	}
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		done := start(func() error { _, err := l.a.Do(ctx, NewRequest(GET, "a")); return err })
		answer := <-late
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		for _, typ := range []codec.Type{codec.Acknowledgement, codec.Confirmable, codec.NonConfirmable} {
			answer[0] = answer[0]&0xcf | byte(typ)<<4
			l.a.Deliver(answer)
		}
	}
	if err := l.b.Ping(t.Context()); err != nil { // and the path is free
		t.Fatal(err)
	}
	// Each round: request, its answer, one Reset.
	if n := datagrams.Load(); n > 50*3+2 {
		t.Errorf("%d datagrams", n)
	}
}
