package coap

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"

	"github.com/latchkey-dev/latchkey"
)

// TestBusy fills workers and queue: what is beyond gets 4.29 at once, pings are
// still answered, and everything accepted is answered in the end.
func TestBusy(t *testing.T) {
	release := make(chan struct{})
	var started sync.WaitGroup
	started.Add(4)
	var once sync.Map
	r := newRaw(t, Config{Workers: 4, Queue: 3, Handler: func(_ context.Context, r *Request) *Response {
		if _, again := once.LoadOrStore(r.Path[0], true); again {
			t.Errorf("%s ran twice", r.Path[0])
		}
		if r.Path[0] < "4" {
			started.Done()
		}
		<-release
		return NewResponse(Content)
	}})
	for i := range 4 {
		r.Deliver(wire(t, con(uint16(i), fmt.Sprint(i), GET, codec.URIPath, fmt.Sprint(i))))
	}
	started.Wait() // all four run at once
	for i := 4; i < 10; i++ {
		r.Deliver(wire(t, con(uint16(i), fmt.Sprint(i), GET, codec.URIPath, fmt.Sprint(i))))
	}
	for i := 7; i < 10; i++ {
		got := r.next()
		age, _ := got.option(codec.MaxAge)
		code, _ := got.option(codec.OptionID(CodeOption))
		if got.code != TooManyRequests || got.id != uint16(i) || decodeUint(age) != 1 || len(code) != 1 || latchkey.Code(code[0]) != latchkey.CodeTooMany {
			t.Errorf("request %d got %v", i, got)
		}
	}
	if pong := r.ask(con(99, "", empty)); pong.String() != "RST 0.00 id=99 t=" {
		t.Errorf("ping got %v", pong)
	}
	close(release)
	for range 7 {
		if got := r.next(); got.code != Content {
			t.Errorf("answer %v", got)
		}
	}
}

// TestWorkersRest checks that an idle endpoint owns no goroutine.
func TestWorkersRest(t *testing.T) {
	r := newRaw(t, Config{Handler: echo})
	for round := range 3 {
		for i := range 50 {
			r.Deliver(wire(t, con(uint16(round*100+i), "t", GET)))
		}
		for range 50 {
			r.next()
		}
		for r.workers.count() > 0 {
			r.Tick(time.Now())
		}
		r.workers.wait()
	}
}

func (w *workers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.started
}

func TestPanicCostsOneRequest(t *testing.T) {
	r := newRaw(t, Config{Workers: 1, Handler: func(_ context.Context, r *Request) *Response {
		if len(r.Path) > 0 {
			panic("no")
		}
		return NewResponse(Content)
	}})
	if got := r.ask(con(1, "t", GET, codec.URIPath, "x")); got.code != InternalServerError || len(got.payload) > 0 {
		t.Errorf("panic got %v", got)
	}
	if got := r.ask(con(2, "t", GET)); got.code != Content {
		t.Errorf("afterwards %v", got)
	}
}

func TestUnsendableResponses(t *testing.T) {
	for name, answer := range map[string]*Response{
		"no code":          {},
		"a method":         NewResponse(POST),
		"class 7":          NewResponse(0xe1),
		"body too large":   {Code: Content, Body: make([]byte, 1025)},
		"option too large": {Code: Content, Options: []Option{{65000, make([]byte, maxDatagram)}}},
	} {
		r := newRaw(t, Config{MaxBody: 1024, Handler: func(context.Context, *Request) *Response { return answer }})
		if got := r.ask(con(1, "t", GET)); got.typ != codec.Acknowledgement || got.code != InternalServerError {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestSlowHandlerIsAcknowledged(t *testing.T) {
	release := make(chan struct{})
	r := newRaw(t, Config{Handler: func(context.Context, *Request) *Response { <-release; return NewResponse(Changed) }})
	r.Deliver(wire(t, con(1, "a", POST)))
	r.Deliver(wire(t, non(2, "b", POST)))
	r.Tick(time.Now().Add(900 * time.Millisecond))
	if early := r.take(); len(early) > 0 {
		t.Fatalf("%x after 0.9 s", early)
	}
	r.Tick(time.Now().Add(1100 * time.Millisecond))
	r.Tick(time.Now().Add(3 * time.Second))
	if ack := r.take(); len(ack) != 1 || read(t, ack[0]).String() != "ACK 0.00 id=1 t=" {
		t.Fatalf("%x after 1.1 s", ack)
	}
	close(release)
	for range 2 {
		got := r.next()
		want := map[token]codec.Type{tok("a"): codec.Confirmable, tok("b"): codec.NonConfirmable}[got.token]
		if got.code != Changed || got.typ != want {
			t.Errorf("answer %v", got)
		}
	}
}

func TestNoResponse(t *testing.T) {
	for _, c := range []struct {
		quiet int
		code  Code
		con   string
		non   bool // a non-confirmable request is answered
	}{
		{0, Content, "ACK 2.05 id=1 t=t", true},
		{2, Content, "ACK 0.00 id=1 t=", false},
		{8, Content, "ACK 2.05 id=1 t=t", true},
		{2, NotFound, "ACK 4.04 id=1 t=t", true},
		{8, NotFound, "ACK 0.00 id=1 t=", false},
		{16, BadGateway, "ACK 0.00 id=1 t=", false},
		{26, Content, "ACK 0.00 id=1 t=", false},
		{26, NotFound, "ACK 0.00 id=1 t=", false},
		{26, BadGateway, "ACK 0.00 id=1 t=", false},
	} {
		r := newRaw(t, Config{Handler: func(_ context.Context, r *Request) *Response {
			if len(r.Options) > 0 {
				t.Errorf("the Handler got %v", r.Options)
			}
			return NewResponse(c.code)
		}})
		if got := r.ask(con(1, "t", PUT, codec.NoResponse, c.quiet)); got.String() != c.con {
			t.Errorf("No-Response %d, %v: %v, want %s", c.quiet, c.code, got, c.con)
		}
		r.Deliver(wire(t, non(2, "t", PUT, codec.NoResponse, c.quiet)))
		r.workers.close()
		r.workers.wait()
		if got := r.take(); len(got) > 0 != c.non {
			t.Errorf("No-Response %d, %v, non-confirmable: %x", c.quiet, c.code, got)
		}
	}
}

// TestNoResponseToBlocks sends a body in blocks and wants no answer but those
// that it needs to go on.
func TestNoResponseToBlocks(t *testing.T) {
	r := newRaw(t, Config{Handler: mirror})
	for num, want := range []string{"ACK 2.31 id=0 t=t 27=08", "ACK 0.00 id=1 t="} {
		m := con(uint16(num), "t", PUT, codec.NoResponse, 26, codec.Block1, block{num: uint32(num), more: num == 0})
		if got := r.ask(m.with("0123456789abcdef")); got.String() != want {
			t.Errorf("block %d got %v, want %s", num, got, want)
		}
	}
}

func TestNilResponse(t *testing.T) {
	r := newRaw(t, Config{Handler: func(context.Context, *Request) *Response { return nil }})
	if got := r.ask(con(1, "t", GET)); got.String() != "ACK 0.00 id=1 t=" {
		t.Errorf("got %v", got)
	}
}

func TestWithoutHandler(t *testing.T) {
	r := newRaw(t, Config{})
	for code := GET; code <= 31; code++ {
		want := NotFound
		if code > IPATCH {
			want = MethodNotAllowed
		}
		if got := r.ask(con(uint16(code), "t", code, codec.URIPath, "a")); got.code != want {
			t.Errorf("%v got %v", code, got)
		}
	}
}

// TestUnacknowledgedAnswers never acknowledges separate answers: those kept for
// repetition are few, the rest go out once.
func TestUnacknowledgedAnswers(t *testing.T) {
	r := newRaw(t, Config{Handler: func(context.Context, *Request) *Response { return NewResponse(Content) }})
	for i := range 1000 {
		e := &reply{id: uint16(i), token: tok("t"), confirmable: true, acked: true, running: true}
		r.mu.Lock()
		r.replies.begin(e)
		r.mu.Unlock()
		r.answer(&job{reply: e}, refusal(Content))
	}
	if n := len(r.outbox.byID); n != maxSeparate {
		t.Errorf("%d answers wait", n)
	}
	if n := len(r.take()); n != 1000 {
		t.Errorf("%d answers were sent", n)
	}
}
