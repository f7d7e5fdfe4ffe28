package stream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits that only a failure makes long.
const patience = 60 * time.Second

// A path says with what probabilities packets are lost, doubled and swapped.
type path struct{ loss, dup, swap float64 }

// A link is one direction of a path.
type link struct {
	path
	mu   sync.Mutex
	rand *rand.Rand
	to   *Mux
	held []byte
}

func (l *link) send(b []byte) error {
	if l.loss+l.dup+l.swap == 0 {
		l.to.Deliver(b)
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch p := l.rand.Float64(); {
	case p < l.loss:
		return nil
	case p < l.loss+l.dup:
		l.to.Deliver(b)
	case p < l.loss+l.dup+l.swap && l.held == nil:
		l.held = append([]byte(nil), b...)
		return nil
	}
	l.to.Deliver(b)
	if l.held != nil {
		l.to.Deliver(l.held)
		l.held = nil
	}
	return nil
}

// A pair is a client and a device on one path.
type pair struct {
	client, device *Mux
}

// newPair connects two Muxes whose packets travel that way.
func newPair(t testing.TB, client, device Config, way path) *pair {
	t.Helper()
	there := &link{path: way, rand: rand.New(rand.NewPCG(1, 2))}
	back := &link{path: way, rand: rand.New(rand.NewPCG(3, 4))}
	quiet := slog.New(slog.DiscardHandler)
	client.Client, client.Send, client.Log = true, there.send, quiet
	device.Send, device.Log = back.send, quiet
	p := &pair{New(client), New(device)}
	there.to, back.to = p.device, p.client
	t.Cleanup(func() {
		p.client.Close(nil)
		p.device.Close(nil)
	})
	return p
}

// accepting returns a Config whose Accept hands every accepted stream to f.
func accepting(f func(*Stream)) Config {
	return Config{Accept: func(in *Incoming) {
		s, err := in.Accept()
		if err == nil {
			f(s)
		}
	}}
}

// echo sends back what it reads and ends when the peer does.
func echo(s *Stream) {
	defer s.Close()
	if _, err := io.Copy(s, s); err == nil {
		s.CloseWrite()
	}
}

// both opens one tunnel and returns its two ends.
func both(t testing.TB, way path) (client, device *Stream, p *pair) {
	t.Helper()
	accepted := make(chan *Stream, 1)
	p = newPair(t, Config{}, accepting(func(s *Stream) { accepted <- s }), way)
	client = open(t, p, "ssh")
	return client, <-accepted, p
}

func open(t testing.TB, p *pair, service string) *Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := p.client.Open(ctx, service)
	if err != nil {
		t.Fatalf("open %s: %v", service, err)
	}
	return s
}

// eventually polls until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// random returns n bytes that depend on seed.
func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

// send writes b and ends the direction.
func send(t testing.TB, s *Stream, b []byte) {
	t.Helper()
	_, err := s.Write(b)
	if err = errors.Join(err, s.CloseWrite()); err != nil {
		t.Errorf("send: %v", err)
	}
}

// receive reads to the end.
func receive(t testing.TB, s *Stream) []byte {
	t.Helper()
	b, err := io.ReadAll(s)
	if err != nil {
		t.Errorf("receive: %v", err)
	}
	return b
}
