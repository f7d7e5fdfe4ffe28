package coap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"

	"github.com/latchkey-dev/latchkey"
)

// A source is a resource that can be observed.
type source struct {
	mu    sync.Mutex
	state []byte
	all   []*Observation
	came  chan *Observation
}

func newSource() *source { return &source{came: make(chan *Observation, 100)} }

func (s *source) response() *Response {
	r := NewResponse(Content)
	r.Observe, r.Body = 0, s.state
	return r
}

func (s *source) handle(_ context.Context, r *Request) *Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Observation != nil {
		s.all = append(s.all, r.Observation)
		s.came <- r.Observation
	}
	return s.response()
}

func (s *source) set(state []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
	for _, o := range s.all {
		o.Notify(s.response())
	}
}

func ended(o *Observation) bool {
	select {
	case <-o.Done():
		return true
	default:
		return false
	}
}

// register observes with the token "obs" and returns the observation once
// notifications may go out, which is a moment after the answer did.
func register(t *testing.T, r *raw, s *source) *Observation {
	t.Helper()
	got := r.ask(con(1, "obs", GET, codec.Observe, 0, codec.URIPath, "a"))
	if got.code != Content || got.observes() == NoObserve {
		t.Fatalf("registration got %v", got)
	}
	o := <-s.came
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		o.e.mu.Lock()
		active := o.active
		o.e.mu.Unlock()
		if active {
			return o
		}
		if time.Now().After(deadline) {
			t.Fatal("the observation does not begin")
		}
	}
}

func TestNotify(t *testing.T) {
	s := newSource()
	r := newRaw(t, Config{Handler: s.handle})
	o := register(t, r, s)
	s.set([]byte("1"))
	first := r.next()
	if first.typ != codec.Confirmable || first.token != tok("obs") || string(first.payload) != "1" {
		t.Fatalf("notification %v", first)
	}
	// While it is unacknowledged, only the latest state waits.
	for _, state := range []string{"2", "3", "4"} {
		s.set([]byte(state))
	}
	if early := r.take(); len(early) > 0 {
		t.Fatalf("%x before the acknowledgement", early)
	}
	r.Deliver(bare(codec.Acknowledgement, first.id))
	second := r.next()
	if string(second.payload) != "4" || second.observes() <= first.observes() {
		t.Fatalf("%v after %v", second, first)
	}
	r.Deliver(bare(codec.Acknowledgement, second.id))
	r.Tick(time.Now().Add(time.Minute))
	if rest := r.take(); len(rest) > 0 || ended(o) {
		t.Fatalf("%x, ended %v", rest, ended(o))
	}
}

// TestNotifyReplacesUnacknowledged repeats with newer content under a new id,
// without starting to count anew.
func TestNotifyReplacesUnacknowledged(t *testing.T) {
	s := newSource()
	r := newRaw(t, Config{Handler: s.handle})
	o := register(t, r, s)
	s.set([]byte("0"))
	ids := map[uint16]bool{}
	now := time.Now()
	sent := 0
	for i := 1; !ended(o); i++ {
		for _, b := range r.take() {
			m := read(t, b)
			if string(m.payload) != fmt.Sprint(i-1) || ids[m.id] {
				t.Fatalf("transmission %d is %v", i, m)
			}
			ids[m.id] = true
			sent++
		}
		s.set(fmt.Append(nil, i))
		now = now.Add(50 * time.Second)
		r.Tick(now)
	}
	if sent != 1+maxRetransmit || len(r.outbox.byID) > 0 || len(r.observations) > 0 {
		t.Errorf("ended after %d transmissions; %d messages, %d observations are left", sent, len(r.outbox.byID), len(r.observations))
	}
}

// TestReplacedNotificationIsForgotten acknowledges and rejects one that a newer
// one has replaced: that says nothing about the newer one.
func TestReplacedNotificationIsForgotten(t *testing.T) {
	s := newSource()
	r := newRaw(t, Config{Handler: s.handle})
	o := register(t, r, s)
	s.set([]byte("1"))
	first := r.next()
	s.set([]byte("2"))
	r.Tick(time.Now().Add(4 * time.Second))
	second := r.next()
	r.Deliver(bare(codec.Reset, first.id))
	r.Deliver(bare(codec.Acknowledgement, first.id))
	r.Tick(time.Now().Add(20 * time.Second))
	if again := r.next(); again.String() != second.String() || ended(o) {
		t.Errorf("%v, then %v, ended %v", second, again, ended(o))
	}
}

func TestObservationEnds(t *testing.T) {
	final := NewResponse(NotFound)
	final.Observe = 0
	for _, c := range []struct {
		name string
		end  func(r *raw, s *source, o *Observation)
		back string // codes of what the endpoint sends
	}{
		{"deregistered", func(r *raw, _ *source, _ *Observation) {
			r.ask(con(2, "obs", GET, codec.Observe, 1, codec.URIPath, "a"))
		}, ""},
		{"plain GET with the token", func(r *raw, _ *source, _ *Observation) {
			r.ask(con(2, "obs", GET, codec.URIPath, "a"))
		}, ""},
		{"registered anew", func(r *raw, s *source, _ *Observation) {
			r.ask(con(2, "obs", GET, codec.Observe, 0, codec.URIPath, "a"))
			<-s.came
		}, ""},
		{"notification rejected", func(r *raw, s *source, _ *Observation) {
			s.set([]byte("x"))
			r.Deliver(bare(codec.Reset, r.next().id))
		}, ""},
		{"rejected, more waits", func(r *raw, s *source, _ *Observation) {
			s.set([]byte("x"))
			s.set([]byte("y"))
			r.Deliver(bare(codec.Reset, r.next().id))
		}, ""},
		{"deregistered while one is unacknowledged", func(r *raw, s *source, _ *Observation) {
			s.set([]byte("x"))
			r.next()
			r.ask(con(2, "obs", GET, codec.Observe, 1, codec.URIPath, "a"))
		}, ""},
		{"closed by its owner", func(_ *raw, _ *source, o *Observation) { o.Close(); o.Close() }, ""},
		{"error as notification", func(_ *raw, _ *source, o *Observation) { o.Notify(final) }, "4.04 4.04 4.04 4.04 4.04"},
		{"error while another is unacknowledged, then closed", func(r *raw, s *source, o *Observation) {
			s.set([]byte("x"))
			id := r.next().id
			o.Notify(final)
			o.Close()
			r.Deliver(bare(codec.Acknowledgement, id))
			r.Deliver(bare(codec.Reset, id))
		}, "4.04 4.04 4.04 4.04 4.04"},
		{"endpoint closed", func(r *raw, _ *source, _ *Observation) { r.Close() }, ""},
	} {
		s := newSource()
		r := newRaw(t, Config{Handler: s.handle})
		o := register(t, r, s)
		c.end(r, s, o)
		if !ended(o) {
			t.Errorf("%s: goes on", c.name)
			continue
		}
		o.Notify(s.response())
		for now, i := time.Now(), 0; i < 10; i++ {
			now = now.Add(time.Minute)
			r.Tick(now)
		}
		var back []byte
		for _, b := range r.take() {
			m := read(t, b)
			back = append(back, " "+m.code.String()...)
			if m.observes() != NoObserve {
				t.Errorf("%s: sent %v", c.name, m)
			}
		}
		if string(bytes.TrimSpace(back)) != c.back {
			t.Errorf("%s: sent%s", c.name, back)
		}
		if n := len(r.outbox.byID); n > 0 {
			t.Errorf("%s: %d messages are left", c.name, n)
		}
	}
}

func TestObservationGoesOn(t *testing.T) {
	s := newSource()
	s.state = noise(3000)
	r := newRaw(t, Config{Handler: s.handle})
	o := register(t, r, s)
	for i, m := range []*message{
		con(10, "other", GET, codec.URIPath, "a"),
		con(11, "obs", POST, codec.URIPath, "a"),
		con(12, "other", GET, codec.Observe, 1, codec.URIPath, "a"),
		con(13, "obs", GET, codec.URIPath, "a", codec.Block2, block{num: 1, szx: 6}),
	} {
		r.ask(m)
		if ended(o) {
			t.Errorf("request %d ended it", i)
		}
	}
}

func TestObservationDeclined(t *testing.T) {
	var o *Observation
	answer := NewResponse(Content)
	r := newRaw(t, Config{Observations: 2, Handler: func(_ context.Context, r *Request) *Response {
		o = r.Observation
		return answer
	}})
	for i, c := range []struct {
		m    *message
		code Code
		obs  int
		want bool // the Handler gets an Observation
	}{
		{con(1, "a", GET, codec.Observe, 0), Content, NoObserve, true},
		{con(2, "a", GET, codec.Observe, 0), NotFound, 0, true},
		{con(3, "a", POST, codec.Observe, 0), Content, 0, false},
		{con(4, "a", GET, codec.Observe, 2), Content, 0, false},
		{con(5, "a", GET, codec.Observe, 0, codec.Block2, block{num: 1}), Content, 0, false},
	} {
		answer = NewResponse(c.code)
		answer.Observe = c.obs
		got := r.ask(c.m)
		if (o != nil) != c.want || got.observes() != NoObserve {
			t.Errorf("%d: Observation %v, answer %v", i, o != nil, got)
		}
		if o != nil && !ended(o) {
			t.Errorf("%d: goes on", i)
		}
	}
	answer = NewResponse(Content)
	answer.Observe = 0
	for i, want := range []bool{true, true, false} {
		got := r.ask(con(uint16(10+i), fmt.Sprint(i), GET, codec.Observe, 0))
		if (o != nil) != want || (got.observes() != NoObserve) != want {
			t.Errorf("observation %d: %v, answer %v", i, o != nil, got)
		}
	}
}

// TestNotifyBeforeTheAnswer notifies while the Handler still runs: the answer
// to the registration goes first.
func TestNotifyBeforeTheAnswer(t *testing.T) {
	r := newRaw(t, Config{Handler: func(_ context.Context, r *Request) *Response {
		for i := range 3 {
			n := NewResponse(Content)
			n.Body = fmt.Append(nil, i)
			r.Observation.Notify(n)
		}
		a := NewResponse(Content)
		a.Observe = 0
		return a
	}})
	first := r.ask(con(1, "t", GET, codec.Observe, 0))
	second := r.next()
	if first.typ != codec.Acknowledgement || string(second.payload) != "2" || second.observes() <= first.observes() {
		t.Errorf("%v, then %v", first, second)
	}
}

// TestEndBeforeTheAnswer ends an observation while the answer to its registration
// is still on its way: the peer hears why, after it, and nothing else.
func TestEndBeforeTheAnswer(t *testing.T) {
	var o *Observation
	r := newRaw(t, Config{Handler: func(_ context.Context, r *Request) *Response {
		o = r.Observation
		o.Notify(NewResponse(Forbidden))
		o.Close()
		o.Notify(NewResponse(Content))
		a := NewResponse(Content)
		a.Observe = 0
		return a
	}})
	first := r.ask(con(1, "t", GET, codec.Observe, 0))
	second := r.next()
	if first.code != Content || first.observes() == NoObserve || second.code != Forbidden {
		t.Errorf("%v, then %v", first, second)
	}
	if !ended(o) {
		t.Error("the observation goes on")
	}
	if rest := r.take(); len(rest) > 0 {
		t.Errorf("sent %x afterwards", rest)
	}
}

func TestObserve(t *testing.T) {
	for _, size := range []int{1, 1024, 5000} {
		s := newSource()
		s.state = bytes.Repeat([]byte{0}, size)
		l := newLink(t, Config{}, Config{Handler: s.handle})
		ctx, cancel := context.WithCancel(t.Context())
		states := make(chan []byte, 100)
		done := start(func() error {
			return l.a.Observe(ctx, NewRequest(GET, "a"), func(r *Response) { states <- r.Body })
		})
		if got := <-states; !bytes.Equal(got, s.state) {
			t.Fatalf("first state has %d bytes", len(got))
		}
		o := <-s.came
		for i := range 20 {
			want := bytes.Repeat([]byte{byte(i + 1)}, size)
			s.set(want)
			for got := <-states; !bytes.Equal(got, want); got = <-states {
				if len(got) != size || got[0] != got[size-1] {
					t.Fatalf("state %d has parts of others", i)
				}
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		<-o.Done() // deregistered
		if n := len(l.a.watches); n > 0 {
			t.Errorf("%d watches are left", n)
		}
	}
}

// TestObserveManyStates changes a large state as fast as it can: what arrives
// is whole, in order, and ends with the latest.
func TestObserveManyStates(t *testing.T) {
	s := newSource()
	s.state = bytes.Repeat([]byte{0}, 3000)
	l := newLink(t, Config{AckTimeout: 20 * time.Millisecond}, Config{AckTimeout: 20 * time.Millisecond, Handler: s.handle})
	ctx, cancel := context.WithCancel(t.Context())
	latest := make(chan byte, 1000)
	done := start(func() error {
		return l.a.Observe(ctx, NewRequest(GET, "a"), func(r *Response) {
			if r.Code != Content || len(r.Body) != 3000 || bytes.Count(r.Body, r.Body[:1]) != 3000 {
				t.Errorf("%v with %d bytes of several versions", r.Code, len(r.Body))
			}
			latest <- r.Body[0]
		})
	})
	<-latest
	for i := range 200 {
		s.set(bytes.Repeat([]byte{byte(i + 1)}, 3000))
	}
	last := byte(0)
	for last != 200 {
		got := <-latest
		if got < last {
			t.Fatalf("%d after %d", got, last)
		}
		last = got
	}
	cancel()
	<-done
}

func TestObserveEndsByThePeer(t *testing.T) {
	for _, c := range []struct {
		name    string
		first   Code
		observe int
		then    Code // notification; 0: none
		again   int  // its Observe
	}{
		{"not found", NotFound, NoObserve, 0, 0},
		{"not observable", Content, NoObserve, 0, 0},
		{"error later", Content, 0, NotFound, NoObserve},
		{"last state later", Content, 0, Content, NoObserve},
	} {
		r := newRaw(t, Config{})
		var got []Code
		done := start(func() error {
			return r.Observe(t.Context(), NewRequest(GET, "a"), func(a *Response) { got = append(got, a.Code) })
		})
		q := r.next()
		if q.observes() != 0 {
			t.Fatalf("%s: %v", c.name, q)
		}
		a := &message{typ: codec.Acknowledgement, code: c.first, id: q.id, token: q.token}
		if c.observe != NoObserve {
			a.options = codec.Options{{ID: codec.Observe, Value: []byte{1}}}
		}
		r.Deliver(wire(t, a))
		want := []Code{c.first}
		if c.then != 0 {
			want = append(want, c.then)
			r.Deliver(wire(t, &message{typ: codec.Confirmable, code: c.then, id: 77, token: q.token}))
			if ack := r.next(); ack.String() != "ACK 0.00 id=77 t=" {
				t.Errorf("%s: notification got %v", c.name, ack)
			}
		}
		if err := <-done; err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v after %v", c.name, err, got)
		}
		if rest := r.take(); len(rest) > 0 {
			t.Errorf("%s: sent %x afterwards", c.name, rest)
		}
	}
}

// TestLastNotificationIsLast delays a notification until after the last one.
func TestLastNotificationIsLast(t *testing.T) {
	r := newRaw(t, Config{})
	entered, leave := make(chan bool), make(chan bool)
	var got []string
	done := start(func() error {
		return r.Observe(t.Context(), NewRequest(GET, "a"), func(a *Response) {
			got = append(got, a.Code.String())
			entered <- true
			<-leave
		})
	})
	q := r.next()
	number := codec.Option{ID: codec.Observe, Value: []byte{1}}
	r.Deliver(wire(t, &message{typ: codec.Acknowledgement, code: Content, id: q.id, token: q.token, options: codec.Options{number}}))
	<-entered
	r.Deliver(wire(t, non(1, string(q.token.bytes()), NotFound)))
	r.Deliver(wire(t, non(2, string(q.token.bytes()), Content, codec.Observe, 2)))
	leave <- true
	<-entered
	leave <- true
	if err := <-done; err != nil || fmt.Sprint(got) != "[2.05 4.04]" {
		t.Errorf("%v after %v", err, got)
	}
}

// TestBadNotification sends one with an option that asks for more than we know.
func TestBadNotification(t *testing.T) {
	for _, typ := range []codec.Type{codec.Confirmable, codec.NonConfirmable} {
		r := newRaw(t, Config{})
		first := make(chan bool, 1)
		done := start(func() error {
			return r.Observe(t.Context(), NewRequest(GET, "a"), func(*Response) { first <- true })
		})
		q := r.next()
		number := codec.Option{ID: codec.Observe, Value: []byte{1}}
		r.Deliver(wire(t, &message{typ: codec.Acknowledgement, code: Content, id: q.id, token: q.token, options: codec.Options{number}}))
		<-first
		number.Value = []byte{2}
		r.Deliver(wire(t, &message{typ: typ, code: Content, id: 9, token: q.token, options: codec.Options{number, {ID: 9}}}))
		if got := r.next(); got.String() != "RST 0.00 id=9 t=" {
			t.Errorf("answered by %v", got)
		}
		if err := <-done; !errors.Is(err, latchkey.ErrProtocol) {
			t.Error(err)
		}
	}
}

// TestStaleNotifications delivers notifications out of order and doubled.
func TestStaleNotifications(t *testing.T) {
	r := newRaw(t, Config{})
	states := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := start(func() error {
		return r.Observe(ctx, NewRequest(GET, "a"), func(a *Response) { states <- string(a.Body) })
	})
	q := r.next()
	send := func(typ codec.Type, id uint16, number int, body string) {
		r.Deliver(wire(t, &message{typ: typ, code: Content, id: id, token: q.token, options: codec.Options{{ID: codec.Observe, Value: encodeUint(uint32(number))}}, payload: []byte(body)}))
	}
	send(codec.Acknowledgement, q.id, 1<<24-2, "a")
	if got := <-states; got != "a" {
		t.Fatal(got)
	}
	for i, c := range []struct {
		number int
		body   string
		fresh  bool
	}{{1<<24 - 1, "b", true}, {1<<24 - 1, "b", false}, {1<<24 - 3, "z", false}, {1, "c", true}, {0, "z", false}, {1 << 22, "d", true}} {
		send(codec.NonConfirmable, uint16(100+i), c.number, c.body)
		select {
		case got := <-states:
			if !c.fresh || got != c.body {
				t.Errorf("%d: got %q", c.number, got)
			}
		case <-time.After(map[bool]time.Duration{true: 10 * time.Second, false: 20 * time.Millisecond}[c.fresh]):
			if c.fresh {
				t.Errorf("%d: nothing came", c.number)
			}
		}
	}
	cancel()
	<-done
	if bye := r.next(); bye.observes() != 1 || bye.token != q.token || bye.code != GET {
		t.Errorf("deregistration %v", bye)
	}
	send(codec.NonConfirmable, 200, 5, "late")
	if got := r.next(); got.String() != "RST 0.00 id=200 t=" {
		t.Errorf("late notification got %v", got)
	}
}
