package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-dev/latchkey"
)

// The reason of a refusal reaches the one who opens.
func TestRefuse(t *testing.T) {
	codes := []latchkey.Code{latchkey.CodeForbidden, latchkey.CodeNotFound, latchkey.CodeTargetRefused, latchkey.CodeTargetUnreachable, latchkey.CodeTargetTimeout}
	refusals := make(chan latchkey.Code, 1)
	p := newPair(t, Config{}, Config{Accept: func(in *Incoming) {
		in.Refuse(<-refusals)
		if _, err := in.Accept(); err == nil {
			t.Error("accepted after a refusal")
		}
		<-in.Context().Done()
	}}, path{})
	for _, code := range codes {
		refusals <- code
		s, err := p.client.Open(t.Context(), "ssh")
		var remote *latchkey.RemoteError
		if s != nil || !errors.Is(err, code.Err()) || !errors.As(err, &remote) || remote.Op != "open ssh" {
			t.Errorf("%v: %v", code, err)
		}
	}
	eventually(t, "both sides forget", func() bool { return channels(p.client)+channels(p.device) == 0 })
}

// An Accept that returns without an answer, or panics, refuses.
func TestNoAnswer(t *testing.T) {
	var log bytes.Buffer
	p := newPair(t, Config{}, Config{Accept: func(in *Incoming) {
		if in.Service() == "panic" {
			panic("oops")
		}
	}}, path{})
	p.device.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	for _, service := range []string{"nothing", "panic"} {
		if _, err := p.client.Open(t.Context(), service); !errors.Is(err, latchkey.ErrInternal) {
			t.Errorf("%s: %v", service, err)
		}
	}
	p.device.Close(nil)
	if !strings.Contains(log.String(), "oops") {
		t.Error("the panic is not in the log")
	}
}

func TestOpenCanceled(t *testing.T) {
	offered := make(chan *Incoming, 1)
	p := newPair(t, Config{}, Config{Accept: func(in *Incoming) {
		offered <- in
		<-in.Context().Done()
		if _, err := in.Accept(); !errors.Is(err, latchkey.ErrReset) {
			t.Errorf("accept after the client gave up: %v", err)
		}
		if err := context.Cause(in.Context()); !errors.Is(err, latchkey.ErrReset) {
			t.Errorf("cause %v", err)
		}
	}}, path{})
	ctx, cancel := context.WithCancelCause(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := p.client.Open(ctx, "ssh")
		result <- err
	}()
	<-offered
	changed := errors.New("changed my mind")
	cancel(changed)
	if err := <-result; err != changed {
		t.Errorf("open: %v", err)
	}
	if _, err := p.client.Open(ctx, "ssh"); err != changed {
		t.Errorf("open after the end of its context: %v", err)
	}
	eventually(t, "both sides forget", func() bool { return channels(p.client)+channels(p.device) == 0 })
}

// Nobody answers at all: only the context ends an open.
func TestOpenUnreachable(t *testing.T) {
	lost := func([]byte) error { return errors.New("no route") }
	m := New(Config{Client: true, Send: lost, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := m.Open(ctx, "ssh")
			result <- err
		}()
	}
	eventually(t, "the association begins", func() bool { return m.leg.Load() != nil })
	cancel()
	for range 2 {
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("open: %v", err)
		}
	}
	go func() {
		_, err := m.Open(context.Background(), "ssh")
		result <- err
	}()
	m.Close(latchkey.ErrRevoked)
	if err := <-result; !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("open on a closed Mux: %v", err)
	}
}

func TestOpenRefusesNonsense(t *testing.T) {
	p := newPair(t, Config{}, Config{}, path{})
	for _, service := range []string{"", strings.Repeat("x", 256)} {
		if _, err := p.client.Open(t.Context(), service); !errors.Is(err, latchkey.ErrNotFound) {
			t.Errorf("service of %d bytes: %v", len(service), err)
		}
	}
	if _, err := p.device.Open(t.Context(), "ssh"); err == nil {
		t.Error("a device opened a stream")
	}
	if _, err := p.client.Open(t.Context(), "ssh"); !errors.Is(err, latchkey.ErrNotFound) {
		t.Errorf("a device without Accept: %v", err)
	}
}

// A Mux that was never used has nothing to end, and one that ended does nothing.
func TestIdle(t *testing.T) {
	before := runtime.NumGoroutine()
	device := New(Config{Send: func([]byte) error { t.Error("sent"); return nil }})
	device.Deliver(nil)
	device.Deliver(make([]byte, 100))
	device.Deliver(append([]byte{0x13, 0x88, 0x13, 0x88}, make([]byte, 1000)...))
	client := New(Config{Client: true, Send: func([]byte) error { t.Error("sent"); return nil }})
	client.Deliver(make([]byte, 100))
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines for nothing", n-before)
	}
	for _, m := range []*Mux{device, client} {
		m.Close(nil)
		m.Close(latchkey.ErrRevoked)
		m.Deliver(make([]byte, 100))
		if <-m.Done(); m.Err() != net.ErrClosed {
			t.Errorf("cause %v", m.Err())
		}
	}
	if _, err := client.Open(t.Context(), "ssh"); err != net.ErrClosed {
		t.Errorf("open after Close: %v", err)
	}
}

// Close tells both sides why, ends what waits, and leaves nothing behind.
func TestMuxClose(t *testing.T) {
	local := errors.New("power is low")
	for _, c := range []struct {
		cause        error
		near, remote error
	}{
		{nil, net.ErrClosed, latchkey.ErrShutdown},
		{latchkey.ErrRevoked, latchkey.ErrRevoked, latchkey.ErrRevoked},
		{fmt.Errorf("wrapped: %w", latchkey.ErrInternal), latchkey.ErrInternal, latchkey.ErrInternal},
		{local, local, latchkey.ErrShutdown},
	} {
		t.Run(fmt.Sprint(c.cause), func(t *testing.T) {
			client, device, p := both(t, path{})
			reads := make(chan error, 2)
			for _, s := range []*Stream{client, device} {
				go func() {
					_, err := s.Read(make([]byte, 1))
					reads <- err
				}()
			}
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() { p.device.Close(c.cause) })
			}
			wg.Wait()
			if err := errors.Join(<-reads, <-reads); !errors.Is(err, c.near) || !errors.Is(err, c.remote) {
				t.Errorf("reads: %v", err)
			}
			if _, err := device.Write([]byte("x")); !errors.Is(err, c.near) {
				t.Errorf("write here: %v", err)
			}
			if _, err := client.Write([]byte("x")); !errors.Is(err, c.remote) {
				t.Errorf("write there: %v", err)
			}
			<-p.client.Done() // the association ended for both
			if _, err := p.client.Open(t.Context(), "ssh"); !errors.Is(err, latchkey.ErrReset) {
				t.Errorf("open afterwards: %v", err)
			}
		})
	}
}

// What the peer had sent to its end can be read although the session is lost.
func TestLostKeepsFinished(t *testing.T) {
	client, device, p := both(t, path{})
	send(t, device, []byte("all of it"))
	eventually(t, "the end arrives", func() bool {
		client.mu.Lock()
		defer client.mu.Unlock()
		return client.in.fin
	})
	lost := errors.New("lost")
	p.client.end(lost)
	if _, err := client.Write([]byte("x")); err != lost {
		t.Errorf("write: %v", err)
	}
	if got := receive(t, client); string(got) != "all of it" {
		t.Errorf("got %q", got)
	}
	other := newPair(t, Config{}, accepting(echo), path{})
	unfinished := open(t, other, "echo")
	other.client.end(lost)
	if _, err := unfinished.Read(make([]byte, 1)); err != lost {
		t.Errorf("read of an unfinished direction: %v", err)
	}
}

// As many tunnels as may be, and no more; the next one as soon as one is over.
func TestStreamLimit(t *testing.T) {
	limits := Limits{Streams: 8, Unanswered: 3}
	p := newPair(t, Config{Limits: limits}, Config{Limits: limits, Accept: accepting(echo).Accept}, path{})
	var streams []*Stream
	for range limits.Streams {
		streams = append(streams, open(t, p, "echo"))
	}
	if _, err := p.client.Open(t.Context(), "echo"); !errors.Is(err, latchkey.ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	streams[3].Reset(0)
	open(t, p, "echo")
}

// Open waits for its turn when as many opens wait for an answer as may.
func TestUnansweredLimit(t *testing.T) {
	answer := make(chan struct{})
	p := newPair(t, Config{}, Config{Accept: func(in *Incoming) {
		<-answer
		_, _ = in.Accept()
	}}, path{})
	const n = 40
	results := make(chan error, n)
	for range n {
		go func() {
			_, err := p.client.Open(t.Context(), "x")
			results <- err
		}()
	}
	unanswered := func() int {
		p.device.mu.Lock()
		defer p.device.mu.Unlock()
		return p.device.unanswered
	}
	eventually(t, "opens wait", func() bool { return unanswered() == 16 })
	for i := range n {
		answer <- struct{}{}
		if err := <-results; err != nil {
			t.Errorf("open %d: %v", i, err)
		}
		if k := unanswered(); k > 16 {
			t.Errorf("%d opens wait", k)
		}
	}
}

// A peer that does not wait for its turn is refused, and no handler runs.
func TestUnansweredFlood(t *testing.T) {
	var wg sync.WaitGroup
	release := make(chan struct{})
	f := newForeign(t, Config{Accept: func(*Incoming) { <-release }})
	defer wg.Wait()
	defer close(release)
	for i := range 20 {
		c := f.open(uint16(2*i), "x")
		c.send(ppiText, `{"credit":1}`)
		c.expect(acked)
		if i >= 16 {
			c.expect(`51 {"open":"refused","code":7}`, "end")
			continue
		}
		eventually(t, "it waits for its answer", func() bool {
			f.peer.mu.Lock()
			defer f.peer.mu.Unlock()
			return f.peer.handlers == i+1
		})
	}
	// Giving up frees the place but not the handler, up to a point.
	refused := 0
	for i := range 100 {
		c := f.open(uint16(2*(20+i)), "x")
		c.send(ppiText, `{"credit":1}`)
		c.send(ppiText, `{"reset":17}`)
		c.expect(acked)
		if got := c.next(); strings.Contains(got, `"code":7`) {
			refused++
		}
	}
	f.peer.mu.Lock()
	handlers := f.peer.handlers
	f.peer.mu.Unlock()
	if handlers > 64 || refused == 0 {
		t.Errorf("%d handlers run", handlers)
	}
}

// Without credit in the process no tunnel is opened, whoever asks.
func TestProcessBudget(t *testing.T) {
	budget := NewBudget(3*floorCredit + 100)
	device := accepting(echo)
	device.Limits.Process = budget
	p := newPair(t, Config{}, device, path{})
	var streams []*Stream
	for range 3 {
		streams = append(streams, open(t, p, "echo"))
	}
	if _, err := p.client.Open(t.Context(), "echo"); !errors.Is(err, latchkey.ErrTooMany) {
		t.Errorf("beyond the budget: %v", err)
	}
	go send(t, streams[0], random(1, 1<<20))
	if len(receive(t, streams[0])) != 1<<20 {
		t.Error("a tunnel at its floor lost bytes")
	}
	eventually(t, "its credit is back", func() bool { return budget.take(floorCredit) })
	other := newPair(t, Config{Limits: Limits{Process: NewBudget(1)}}, accepting(echo), path{})
	if _, err := other.client.Open(t.Context(), "echo"); !errors.Is(err, latchkey.ErrTooMany) {
		t.Errorf("a client without credit: %v", err)
	}
}

// A peer that opens thousands of streams and closes none is got rid of before
// it costs much.
func TestStreamFlood(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f := newForeign(t, accepting(func(s *Stream) { _, _ = io.Copy(io.Discard, s) }))
	for i := range 10_000 {
		s, err := f.a.OpenStream(uint16(2*i), ppiBinary)
		if err != nil {
			break
		}
		if _, err := s.WriteSCTP(tunnelOpen, ppiDCEP); err != nil {
			break
		}
		if _, _, err = s.ReadSCTP(make([]byte, 1)); err != nil { // as fast as they are taken
			break
		}
		if _, err := s.WriteSCTP([]byte(`{"credit":1}`), ppiText); err != nil {
			break
		}
	}
	<-f.peer.Done()
	if err := f.peer.Err(); !errors.Is(err, latchkey.ErrProtocol) {
		t.Errorf("the session ended with %v", err)
	}
	f.peer.Close(nil)
	_ = f.a.Close()
	if live := f.peer.Live(); live != 0 {
		t.Errorf("%d tunnels are left", live)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("%d bytes are still in use", grown)
	}
}

// Opening and closing leaves no goroutine and no memory, and goes on until the
// ids are used up.
func TestManyOpens(t *testing.T) {
	rounds := 30_000
	if testing.Short() {
		rounds = 1_500
	}
	p := newPair(t, Config{}, accepting(echo), path{})
	cycle := func(n int) {
		for range n {
			s := open(t, p, "echo")
			_, _ = s.Write([]byte("x"))
			_ = s.CloseWrite()
			if got := receive(t, s); string(got) != "x" {
				t.Fatalf("echo %q", got)
			}
			_ = s.Close()
		}
		eventually(t, "both sides forget", func() bool { return channels(p.client)+channels(p.device) == 0 })
	}
	measure := func() (goroutines int, heap uint64) {
		var m runtime.MemStats
		for range 3 {
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), m.HeapAlloc
	}
	cycle(500)
	goroutines, heap := measure()
	cycle(rounds - 500)
	goroutines2, heap2 := measure()
	if goroutines2 > goroutines {
		t.Errorf("goroutines: %d, then %d", goroutines, goroutines2)
	}
	if heap2 > heap+1<<20 {
		t.Errorf("heap: %d, then %d", heap, heap2)
	}
	if p.client.Exhausted() {
		t.Errorf("exhausted after %d", rounds)
	}
}

// The last ids can be used, and none twice.
func TestExhausted(t *testing.T) {
	p := newPair(t, Config{}, accepting(echo), path{})
	p.client.next = maxID - 2*idReserve
	if open(t, p, "echo").Close(); !p.client.Exhausted() {
		t.Error("not exhausted with 256 ids left")
	}
	p.client.mu.Lock()
	p.client.next = maxID - 2
	p.client.mu.Unlock()
	_ = open(t, p, "echo").Close()
	if _, err := p.client.OpenDatagram(t.Context(), "dns"); !errors.Is(err, latchkey.ErrTooMany) {
		t.Errorf("a flow with one id left: %v", err)
	}
	last := open(t, p, "echo")
	if last.c.id != maxID {
		t.Errorf("the last id is %d", last.c.id)
	}
	if _, err := p.client.Open(t.Context(), "echo"); !errors.Is(err, latchkey.ErrTooMany) {
		t.Errorf("beyond the last id: %v", err)
	}
}

func TestIDSet(t *testing.T) {
	var s idSet
	for _, id := range []uint16{0, 63, 64, 65534, 2} {
		if s.has(id) || !s.add(id) || s.add(id) || !s.has(id) {
			t.Errorf("id %d", id)
		}
	}
	if s.has(1) || s.has(65535) {
		t.Error("has what was not added")
	}
}
