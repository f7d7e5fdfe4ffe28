package coap

import (
	"context"
	"testing"

	codec "github.com/plgd-dev/go-coap/v3/message"

	"github.com/latchkey-dev/latchkey"
)

// forget drops what is kept of block transfers, as time would.
func forget(e *Endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.uploads) > 0 {
		e.dropUploadLocked(0)
	}
	e.downloads = nil
	e.reviews++
}

func revoked() *Response {
	m := NewResponse(Forbidden)
	SetCode(m, latchkey.CodeRevoked)
	return m
}

// TestAnswerBeforeTheHandler answers a request whose handler does not return.
func TestAnswerBeforeTheHandler(t *testing.T) {
	started, release := make(chan *Request), make(chan bool)
	r := newRaw(t, Config{Handler: func(_ context.Context, r *Request) *Response {
		started <- r
		<-release
		return NewResponse(Content)
	}})
	r.Deliver(wire(t, con(1, "a", GET, codec.URIPath, "a")))
	request := <-started
	if !request.Answer(revoked()) {
		t.Error("the first answer was dropped")
	}
	if got := r.next(); got.code != Forbidden || got.typ != codec.Acknowledgement {
		t.Errorf("got %v", got)
	}
	if request.Answer(NewResponse(Content)) {
		t.Error("a second answer was taken")
	}
	close(release)
	if got := r.ask(con(1, "a", GET, codec.URIPath, "a")); got.code != Forbidden {
		t.Errorf("a duplicate is answered %v", got) // and nothing of the handler came before
	}
	if NewRequest(GET).Answer(NewResponse(Content)) {
		t.Error("a request of nobody was answered")
	}
}

// TestAnswerDuringAReview: what a change is answered with goes out whole, because
// the peer must not ask for the change again.
func TestAnswerDuringAReview(t *testing.T) {
	var e *raw
	e = newRaw(t, Config{Handler: func(_ context.Context, r *Request) *Response {
		e.Review(func(*Request) *Response { return nil })
		m := NewResponse(Changed)
		m.Body = make([]byte, 2*largestBlock)
		r.Answer(m)
		return m
	}})
	const second = 1<<4 | largestExponent
	first := e.ask(con(1, "a", POST, codec.URIPath, "a"))
	rest := e.ask(con(2, "b", POST, codec.URIPath, "a", codec.Block2, second))
	if first.code != Changed || rest.code != Changed || len(first.payload)+len(rest.payload) != 2*largestBlock {
		t.Errorf("%v, then %v", first, rest)
	}
}

// TestReview ends one transfer of two in each direction.
func TestReview(t *testing.T) {
	r := newRaw(t, Config{Handler: func(context.Context, *Request) *Response {
		m := NewResponse(Content)
		m.Body = make([]byte, 3000)
		return m
	}})
	put := func(id uint16, path string, num uint32) *message {
		return con(id, "t", PUT, codec.URIPath, path, codec.Block1, block{num: num, more: true, szx: 0}).with("0123456789abcdef")
	}
	get := func(id uint16, path string, num uint32) *message {
		return con(id, "t", GET, codec.URIPath, path, codec.Block2, block{num: num, szx: 6})
	}
	for i, path := range []string{"keep", "end"} {
		r.ask(put(uint16(10+i), path, 0))
		r.ask(get(uint16(20+i), path, 0))
	}
	asked := 0
	r.Review(func(head *Request) *Response {
		if asked++; head.Body != nil {
			t.Error("judged by a part of the body")
		}
		if head.Path[0] == "keep" {
			return nil
		}
		return revoked()
	})
	if asked != 4 {
		t.Errorf("asked about %d of 4 transfers", asked)
	}
	for _, m := range []*message{put(30, "end", 1), get(31, "end", 1)} {
		if got := r.ask(m); got.code != Forbidden {
			t.Errorf("%v of what was ended: %v", m.code, got)
		}
	}
	if got := r.ask(put(32, "keep", 1)); got.code != Continue {
		t.Errorf("an upload that may go on: %v", got)
	}
	if got := r.ask(get(33, "keep", 1)); got.code != Content || len(got.payload) != 1024 {
		t.Errorf("a download that may go on: %v", got)
	}
	if len(r.uploads) != 1 || len(r.downloads) != 1 || r.held != 32 {
		t.Errorf("%d uploads, %d downloads, %d bytes are held", len(r.uploads), len(r.downloads), r.held)
	}
}
