package coap

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"

	"github.com/latchkey-dev/latchkey"
)

// start runs f and returns where its error arrives.
func start(f func() error) chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// TestRepetition follows one message through its transmissions: 2 to 3 s, and
// twice as long each time (RFC 7252 section 4.2).
func TestRepetition(t *testing.T) {
	for name, ask := range map[string]func(*raw) error{
		"ping":    func(r *raw) error { return r.Ping(t.Context()) },
		"request": func(r *raw) error { _, err := r.Do(t.Context(), NewRequest(POST, "a")); return err },
		"observe": func(r *raw) error { return r.Observe(t.Context(), NewRequest(GET, "a"), nil) },
	} {
		r := newRaw(t, Config{})
		done := start(func() error { return ask(r) })
		first := r.next()
		from := time.Now()
		var gaps []time.Duration
		last := time.Duration(0)
		for at := time.Duration(0); at < 100*time.Second; at += 10 * time.Millisecond {
			r.Tick(from.Add(at))
			for _, b := range r.take() {
				if got := read(t, b); got.observes() != 1 && got.String() != first.String() {
					t.Fatalf("%s: repeated %v, first was %v", name, got, first)
				} else if got.observes() != 1 {
					gaps = append(gaps, at-last)
					last = at
				}
			}
		}
		if err := <-done; !errors.Is(err, ErrNoAnswer) {
			t.Errorf("%s: %v", name, err)
		}
		if len(gaps) != maxRetransmit {
			t.Fatalf("%s: repeated after %v", name, gaps)
		}
		if gaps[0] < 1900*time.Millisecond || gaps[0] > 3100*time.Millisecond {
			t.Errorf("%s: first repeated after %v", name, gaps[0])
		}
		for i := 1; i < len(gaps); i++ {
			if diff := gaps[i] - 2*gaps[i-1]; diff < -100*time.Millisecond || diff > 100*time.Millisecond {
				t.Errorf("%s: gaps %v", name, gaps)
			}
		}
	}
}

// observes returns the Observe option, NoObserve without.
func (m *message) observes() int {
	v, ok := m.option(codec.Observe)
	if !ok {
		return NoObserve
	}
	return int(decodeUint(v))
}

func TestAnswers(t *testing.T) {
	const content = Content
	for _, c := range []struct {
		name   string
		answer func(r *raw, q *message)
		err    error
		back   string // datagrams of the endpoint after the request
	}{
		{"on the acknowledgement", func(r *raw, q *message) {
			r.Deliver(wire(t, &message{typ: codec.Acknowledgement, code: content, id: q.id, token: q.token}))
		}, nil, ""},
		{"separate", func(r *raw, q *message) {
			r.Deliver(bare(codec.Acknowledgement, q.id))
			r.Deliver(wire(t, &message{typ: codec.Confirmable, code: content, id: 5, token: q.token}))
		}, nil, "ACK 0.00 id=5 t="},
		{"separate, non-confirmable", func(r *raw, q *message) {
			r.Deliver(bare(codec.Acknowledgement, q.id))
			r.Deliver(wire(t, &message{typ: codec.NonConfirmable, code: content, id: 5, token: q.token}))
		}, nil, ""},
		{"separate, acknowledgement lost", func(r *raw, q *message) {
			r.Deliver(wire(t, &message{typ: codec.Confirmable, code: content, id: 5, token: q.token}))
		}, nil, "ACK 0.00 id=5 t="},
		{"separate, before the acknowledgement", func(r *raw, q *message) {
			r.Deliver(wire(t, &message{typ: codec.Confirmable, code: content, id: 5, token: q.token}))
			r.Deliver(bare(codec.Acknowledgement, q.id))
		}, nil, "ACK 0.00 id=5 t="},
		{"acknowledged twice", func(r *raw, q *message) {
			r.Deliver(bare(codec.Acknowledgement, q.id))
			r.Deliver(bare(codec.Acknowledgement, q.id))
			r.Deliver(wire(t, &message{typ: codec.NonConfirmable, code: content, id: 5, token: q.token}))
		}, nil, ""},
		{"wrong token on the acknowledgement", func(r *raw, q *message) {
			r.Deliver(wire(t, &message{typ: codec.Acknowledgement, code: NotFound, id: q.id, token: tok("wrong")}))
			r.Deliver(wire(t, &message{typ: codec.Acknowledgement, code: content, id: q.id, token: q.token}))
		}, nil, ""},
		{"wrong id on the acknowledgement", func(r *raw, q *message) {
			r.Deliver(wire(t, &message{typ: codec.Acknowledgement, code: NotFound, id: q.id + 1, token: q.token}))
			r.Deliver(wire(t, &message{typ: codec.Acknowledgement, code: content, id: q.id, token: q.token}))
		}, nil, ""},
		{"reset", func(r *raw, q *message) { r.Deliver(bare(codec.Reset, q.id)) }, ErrReset, ""},
		{"malformed reset", func(r *raw, q *message) {
			r.Deliver(append(bare(codec.Reset, q.id), 0xff, 'x'))
			r.Deliver(wire(t, &message{typ: codec.Acknowledgement, code: content, id: q.id, token: q.token}))
		}, nil, ""},
		{"reset of another", func(r *raw, q *message) {
			r.Deliver(bare(codec.Reset, q.id+1))
			r.Deliver(wire(t, &message{typ: codec.Acknowledgement, code: content, id: q.id, token: q.token}))
		}, nil, ""},
		{"unknown critical option", func(r *raw, q *message) {
			r.Deliver(wire(t, &message{typ: codec.Confirmable, code: content, id: 5, token: q.token, options: codec.Options{{ID: 9}}}))
		}, latchkey.ErrProtocol, "RST 0.00 id=5 t="},
		{"unknown critical option on the acknowledgement", func(r *raw, q *message) {
			r.Deliver(wire(t, &message{typ: codec.Acknowledgement, code: content, id: q.id, token: q.token, options: codec.Options{{ID: 9}}}))
		}, latchkey.ErrProtocol, ""},
		{"block size 7", func(r *raw, q *message) {
			r.Deliver(wire(t, &message{typ: codec.Acknowledgement, code: content, id: q.id, token: q.token, options: codec.Options{{ID: codec.Block2, Value: []byte{7}}}}))
		}, latchkey.ErrProtocol, ""},
		{"aborted", func(r *raw, _ *message) { r.Abort(latchkey.ErrTargetRefused) }, latchkey.ErrTargetRefused, ""},
		{"closed", func(r *raw, _ *message) { r.Close() }, net.ErrClosed, ""},
	} {
		r := newRaw(t, Config{})
		var a *Response
		done := start(func() (err error) { a, err = r.Do(t.Context(), NewRequest(GET, "a")); return err })
		c.answer(r, r.next())
		err := <-done
		if !errors.Is(err, c.err) || err == nil && a.Code != content {
			t.Errorf("%s: %v %v, want %v", c.name, a, err, c.err)
		}
		r.Tick(time.Now().Add(5 * time.Second)) // nothing is repeated any more
		var back string
		for _, b := range r.take() {
			back += read(t, b).String()
		}
		if back != c.back {
			t.Errorf("%s: endpoint sent %q, want %q", c.name, back, c.back)
		}
		if n := len(r.exchanges) + len(r.outbox.byID); n > 0 {
			t.Errorf("%s: %d exchanges are left", c.name, n)
		}
	}
}

func TestDoEndsWithItsContext(t *testing.T) {
	r := newRaw(t, Config{InFlight: 1})
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := start(func() error { _, err := r.Do(ctx, NewRequest(GET, "a")); return err })
	q := r.next()
	waiting := start(func() error { _, err := r.Do(ctx, NewRequest(GET, "b")); return err })
	cancel(cause)
	for _, c := range []chan error{done, waiting} {
		if err := <-c; !errors.Is(err, cause) {
			t.Error(err)
		}
	}
	r.Tick(time.Now().Add(5 * time.Second))
	if rest := r.take(); len(rest) > 0 {
		t.Errorf("goes on with %x", rest)
	}
	// The late answer is refused, and breeds nothing.
	r.Deliver(wire(t, &message{typ: codec.Confirmable, code: Content, id: 5, token: q.token}))
	if got := r.next(); got.String() != "RST 0.00 id=5 t=" {
		t.Errorf("late answer got %v", got)
	}
}

func TestUnsendableRequests(t *testing.T) {
	r := newRaw(t, Config{})
	large := NewRequest(GET, "a")
	large.Options = []Option{{65000, make([]byte, maxDatagram)}}
	for name, q := range map[string]*Request{"no code": {}, "a response code": NewRequest(Content), "option too large": large} {
		if _, err := r.Do(t.Context(), q); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if rest := r.take(); len(rest) > 0 {
		t.Errorf("sent %x", rest)
	}
}

func TestPing(t *testing.T) {
	for _, typ := range []codec.Type{codec.Reset, codec.Acknowledgement} {
		r := newRaw(t, Config{})
		done := start(func() error { return r.Ping(t.Context()) })
		ping := r.next()
		if ping.typ != codec.Confirmable || ping.code != empty {
			t.Fatalf("ping %v", ping)
		}
		r.Deliver(bare(typ, ping.id))
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	l := newLink(t, Config{}, Config{})
	if err := errors.Join(l.a.Ping(t.Context()), l.b.Ping(t.Context())); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := newRaw(t, Config{})
	if err := r.Ping(ctx); !errors.Is(err, context.Canceled) || len(r.outbox.byID) > 0 {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	started, ended := make(chan struct{}), make(chan struct{})
	r := newRaw(t, Config{Handler: func(ctx context.Context, _ *Request) *Response {
		close(started)
		<-ctx.Done()
		close(ended)
		return NewResponse(Content)
	}})
	r.Deliver(wire(t, con(1, "t", GET)))
	<-started
	ping := start(func() error { return r.Ping(t.Context()) })
	r.next()
	r.Close()
	r.Close()
	r.Wait()
	<-ended
	if err := <-ping; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	_, err := r.Do(t.Context(), NewRequest(GET))
	for _, err := range []error{err, r.Ping(t.Context()), r.Observe(t.Context(), NewRequest(GET), nil)} {
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	r.Deliver(wire(t, con(2, "t", GET)))
	r.Tick(time.Now().Add(time.Hour))
	if rest := r.take(); len(rest) > 0 {
		t.Errorf("closed endpoint sent %x", rest)
	}
}
