package coap

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"
	"pgregory.net/rapid"
)

// counting answers with the number of times it ran.
func counting(n *atomic.Int64) Handler {
	return func(context.Context, *Request) *Response {
		a := NewResponse(Content)
		a.Body = fmt.Append(nil, n.Add(1))
		return a
	}
}

func TestDuplicateRunsOnce(t *testing.T) {
	for _, code := range []Code{GET, POST, PUT, DELETE, FETCH, PATCH, IPATCH} {
		var ran atomic.Int64
		r := newRaw(t, Config{Handler: counting(&ran)})
		b := wire(t, con(7, "t", code, codec.URIPath, "a"))
		r.Deliver(b)
		first := wire(t, r.next())
		for range 100 {
			r.Tick(time.Now().Add(200 * time.Second)) // within EXCHANGE_LIFETIME
			r.Deliver(b)
			if again := wire(t, r.next()); !bytes.Equal(again, first) {
				t.Fatalf("%v: duplicate answered by %x, first answer was %x", code, again, first)
			}
		}
		if ran.Load() != 1 {
			t.Errorf("%v: ran %d times", code, ran.Load())
		}
	}
}

func TestDuplicateWhileItRuns(t *testing.T) {
	release := make(chan struct{})
	var ran atomic.Int64
	r := newRaw(t, Config{Handler: func(context.Context, *Request) *Response {
		ran.Add(1)
		<-release
		return NewResponse(Changed)
	}})
	post := con(7, "t", POST)
	r.Deliver(wire(t, post))
	for range 3 {
		if got := r.ask(post); got.String() != "ACK 0.00 id=7 t=" {
			t.Fatalf("duplicate of a running request got %v", got)
		}
	}
	close(release)
	separate := r.next()
	if separate.typ != codec.Confirmable || separate.code != Changed || separate.token != tok("t") {
		t.Fatalf("answer %v", separate)
	}
	if got := r.ask(post); got.String() != "ACK 0.00 id=7 t=" || ran.Load() != 1 {
		t.Fatalf("late duplicate got %v after %d runs", got, ran.Load())
	}
	// The answer is repeated until it is acknowledged, and no longer.
	r.Tick(time.Now().Add(4 * time.Second))
	if again := r.next(); again.String() != separate.String() {
		t.Fatalf("repeated %v", again)
	}
	r.Deliver(bare(codec.Acknowledgement, separate.id))
	r.Tick(time.Now().Add(time.Minute))
	if rest := r.take(); len(rest) > 0 {
		t.Fatalf("%x after the acknowledgement", rest)
	}
}

func TestNonConfirmable(t *testing.T) {
	var ran atomic.Int64
	r := newRaw(t, Config{Handler: counting(&ran)})
	get := non(7, "t", GET)
	if got := r.ask(get); got.typ != codec.NonConfirmable || got.code != Content || got.token != tok("t") {
		t.Fatalf("answer %v", got)
	}
	r.Deliver(wire(t, get))
	if rest := r.take(); len(rest) > 0 || ran.Load() != 1 {
		t.Fatalf("duplicate got %x, ran %d times", rest, ran.Load())
	}
}

// TestDuplicateOfAnswer delivers a separate answer again and again: each is
// acknowledged, although the request is long over.
func TestDuplicateOfAnswer(t *testing.T) {
	r := newRaw(t, Config{})
	done := make(chan error, 1)
	go func() {
		_, err := r.Do(t.Context(), NewRequest(GET, "a"))
		done <- err
	}()
	request := r.next()
	r.Deliver(bare(codec.Acknowledgement, request.id))
	answer := wire(t, &message{typ: codec.Confirmable, code: Content, id: 99, token: request.token, payload: []byte("x")})
	for range 5 {
		r.Deliver(answer)
		if got := r.next(); got.String() != "ACK 0.00 id=99 t=" {
			t.Fatalf("answer got %v", got)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.Deliver(answer)
	if got := r.next(); got.String() != "ACK 0.00 id=99 t=" {
		t.Fatalf("late answer got %v", got)
	}
}

// TestDuplicateModel compares the endpoint with the rule: a message is a
// duplicate if it equals the latest one with its id.
func TestDuplicateModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var ran atomic.Int64
		r := newRaw(t, Config{Handler: counting(&ran)})
		defer r.Close()
		type seen struct{ datagram, answer []byte }
		latest := map[uint16]seen{}
		var runs int64
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			if rapid.IntRange(0, 19).Draw(rt, "wait") == 0 {
				r.Tick(time.Now().Add(exchangeLifetime + time.Second))
				clear(latest)
			}
			m := con(uint16(rapid.IntRange(0, 4).Draw(rt, "id")), rapid.SampledFrom([]string{"", "a", "b"}).Draw(rt, "token"),
				rapid.SampledFrom([]Code{GET, POST}).Draw(rt, "code"), codec.URIPath, rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "path"))
			if rapid.Bool().Draw(rt, "non") {
				m.typ = codec.NonConfirmable
			}
			b := wire(t, m)
			r.Deliver(b)
			if old, ok := latest[m.id]; ok && bytes.Equal(old.datagram, b) {
				var want [][]byte
				if m.typ == codec.Confirmable {
					want = [][]byte{old.answer}
				}
				if got := r.take(); fmt.Sprintf("%x", got) != fmt.Sprintf("%x", want) {
					rt.Fatalf("duplicate %v got %x, want %x", m, got, want)
				}
			} else {
				runs++
				answer := r.next()
				if string(answer.payload) != fmt.Sprint(runs) || answer.token != m.token {
					rt.Fatalf("%v got %v after %d runs", m, answer, runs)
				}
				latest[m.id] = seen{b, wire(t, answer)}
			}
			if ran.Load() != runs {
				rt.Fatalf("%v: ran %d times, want %d", m, ran.Load(), runs)
			}
		}
	})
}

// TestRepliesAreBounded fills the memory with distinct messages, big and small.
func TestRepliesAreBounded(t *testing.T) {
	for _, size := range []int{0, 1000} {
		var r replies
		for i := range 100_000 {
			e := &reply{id: uint16(i), token: tok(fmt.Sprint(i / 1e4)), sum: uint64(i), safe: i%3 > 0, running: true}
			r.begin(e)
			r.finish(e, make([]byte, size))
			if i%1000 > 0 {
				continue
			}
			for _, q := range []*replyQueue{&r.safe, &r.unsafe} {
				if q.bytes > replyBytes || len(q.list) > replyEntries || len(r.byID) > 2*replyEntries {
					t.Fatalf("%d replies of %d bytes, %d ids", len(q.list), q.bytes, len(r.byID))
				}
			}
			if got := r.find(e.id, e.token, e.sum); got != e {
				t.Fatalf("the latest reply is %v", got)
			}
		}
		r.expire(time.Now())
		if r.byID != nil || r.safe.bytes != 0 || r.unsafe.bytes != 0 {
			t.Errorf("%d ids, %d and %d bytes are left", len(r.byID), r.safe.bytes, r.unsafe.bytes)
		}
	}
}

// TestReadsDoNotPushOutWrites repeats a POST after a burst of GETs.
func TestReadsDoNotPushOutWrites(t *testing.T) {
	var ran atomic.Int64
	r := newRaw(t, Config{Handler: counting(&ran)})
	post := con(1, "post", POST)
	first := r.ask(post)
	for i := range 20_000 {
		r.ask(con(uint16(2+i), fmt.Sprint(i), GET))
	}
	if again := r.ask(post); again.String() != first.String() {
		t.Fatalf("%v, first %v", again, first)
	}
}
