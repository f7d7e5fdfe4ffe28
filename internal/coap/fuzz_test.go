package coap

import (
	"bytes"
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"
)

// seeds are datagrams of every kind.
func seeds(t testing.TB) [][]byte {
	var list [][]byte
	for _, m := range []*message{
		con(1, "", empty),
		con(1, "token", GET, codec.URIPath, "a", codec.URIQuery, "b"),
		con(2, "token", GET, codec.Observe, 0, codec.URIPath, "a"),
		con(3, "token", GET, codec.Observe, 1, codec.URIPath, "a"),
		con(4, "t", GET, codec.URIPath, "large"),
		con(5, "t", GET, codec.URIPath, "large", codec.Block2, block{num: 1, szx: 2}),
		con(6, "t", PUT, codec.Block1, block{more: true}).with("0123456789abcdef"),
		con(7, "t", PUT, codec.Block1, block{num: 1}).with("0123456789abcdef"),
		con(8, "t", PUT, codec.Block1, block{more: true}, codec.Size1, 1<<30).with("0123456789abcdef"),
		con(9, "t", GET, codec.ProxyURI, "coap://x"),
		con(10, "t", FETCH, codec.ContentFormat, 60, codec.OptionID(65000), "x").with("body"),
		non(11, "t", POST, codec.NoResponse, 26),
		con(12, "t", Content, codec.Observe, 5, codec.ETag, "e", codec.Block2, block{more: true, szx: 6}).with("x"),
	} {
		list = append(list, wire(t, m))
	}
	return append(list, bare(codec.Acknowledgement, 1), bare(codec.Reset, 1), []byte{0x40}, unhex("40010001ff"), unhex("4f010001"))
}

// join makes one input of several datagrams.
func join(list ...[]byte) []byte {
	var all []byte
	for _, d := range list {
		all = append(all, byte(len(d)>>8), byte(len(d)))
		all = append(all, d...)
	}
	return all
}

// split is the inverse of join; the last datagram may be cut short.
func split(all []byte) (list [][]byte) {
	for len(all) >= 2 {
		n := min(int(all[0])<<8|int(all[1]), len(all)-2)
		list = append(list, all[2:2+n])
		all = all[2+n:]
	}
	return list
}

// FuzzMessage parses, prints and parses again, and compares with go-coap's
// decoder: it accepts what we accept and reads the same in it.
func FuzzMessage(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var one, two frame
		if one.parse(b) != nil {
			return
		}
		printed, err := one.encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := two.parse(printed); err != nil || one.String() != two.String() || !bytes.Equal(one.payload, two.payload) {
			t.Fatalf("%x is %v, printed %x is %v (%v)", b, &one.message, printed, &two.message, err)
		}
		theirs := codec.Message{Options: make(codec.Options, 0, maxOptions)}
		if _, err := coder.DefaultCoder.Decode(b, &theirs); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		if theirs.Code != codes.Code(one.code) || uint16(theirs.MessageID) != one.id || theirs.Type != one.typ ||
			!bytes.Equal(theirs.Token, one.token.bytes()) || !bytes.Equal(theirs.Payload, one.payload) {
			t.Fatalf("%x is %v, theirs %v", b, &one.message, &theirs)
		}
		for i := range one.options { // theirs lacks options of illegal length
			if proper(one.options, i) && !slices.ContainsFunc(theirs.Options, func(o codec.Option) bool {
				return o.ID == one.options[i].ID && bytes.Equal(o.Value, one.options[i].Value)
			}) {
				t.Fatalf("%x: option %v is missing in %v", b, one.options[i], theirs.Options)
			}
		}
	})
}

// FuzzDeliver gives a serving endpoint arbitrary datagrams: it never sends more
// than it got, and keeps no more than its caps.
func FuzzDeliver(f *testing.F) {
	all := seeds(f)
	f.Add(join(all...))
	for _, b := range all {
		f.Add(join(b, b, b))
	}
	large := noise(300)
	f.Fuzz(func(t *testing.T, input []byte) {
		var sent atomic.Int64
		cfg := Config{Log: quiet, MaxBody: 256, BlockSize: 64, Workers: 2, Queue: 2, Uploads: 2, Downloads: 2, Observations: 2}
		cfg.Send = func(b []byte) error {
			sent.Add(1)
			var f frame
			if err := f.parse(b); err != nil {
				t.Errorf("sent %x: %v", b, err)
			}
			return nil
		}
		cfg.Handler = func(_ context.Context, r *Request) *Response {
			if len(r.Body) > cfg.MaxBody {
				t.Errorf("body of %d bytes", len(r.Body))
			}
			a := NewResponse(Content)
			a.Observe = 0
			if len(r.Path) > 0 && r.Path[0] == "large" {
				a.Body = large[:200]
			}
			return a
		}
		e := New(cfg)
		defer e.Close()
		datagrams := split(input)
		for i, d := range datagrams {
			e.Deliver(d)
			if i%8 == 7 {
				e.Tick(time.Now())
			}
		}
		e.workers.drain()
		if n := sent.Load(); n > int64(len(datagrams)) {
			t.Errorf("%d datagrams in answer to %d", n, len(datagrams))
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.held > 2*cfg.MaxBody || len(e.uploads) > 2 || len(e.downloads) > 2 || len(e.observations) > 2 ||
			len(e.running) > 0 || len(e.outbox.byID) > maxSeparate || e.replies.safe.bytes+e.replies.unsafe.bytes > 2*replyBytes {
			t.Errorf("%d bytes, %d uploads, %d downloads, %d observations, %d running, %d messages", e.held, len(e.uploads),
				len(e.downloads), len(e.observations), len(e.running), len(e.outbox.byID))
		}
	})
}

// drain waits until the pool has nothing to do.
func (w *workers) drain() {
	for {
		w.mu.Lock()
		done := w.started == w.waiting && len(w.backlog) == 0
		w.mu.Unlock()
		if done {
			return
		}
		time.Sleep(10 * time.Microsecond)
	}
}

// FuzzAnswers gives requests and an observation of ours arbitrary answers: the
// endpoint survives, and what it hands out keeps the caps.
func FuzzAnswers(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b, b, true)
	}
	f.Add(wire(f, con(1, "", Content, codec.Block2, block{more: true, szx: 6}).with(string(noise(1024)))), bare(codec.Acknowledgement, 0), false)
	f.Add(wire(f, con(1, "", Continue, codec.Block1, block{more: true, szx: 0})), bare(codec.Reset, 0), false)
	f.Fuzz(func(t *testing.T, first, second []byte, observe bool) {
		const size = 2000
		sent := make(chan []byte, 1000)
		e := New(Config{Log: quiet, MaxBody: size, Send: func(b []byte) error {
			select {
			case sent <- bytes.Clone(b):
			default:
			}
			return nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		check := func(r *Response) {
			if len(r.Body) > size {
				t.Errorf("body of %d bytes", len(r.Body))
			}
		}
		done := start(func() error {
			if observe {
				return e.Observe(ctx, NewRequest(GET, "a"), check)
			}
			r := NewRequest(PUT, "a")
			r.Body = noise(size)
			a, err := e.Do(ctx, r)
			if err == nil {
				check(a)
			}
			return err
		})
		for range 4 { // each message of ours gets both answers
			select {
			case q := <-sent:
				for _, b := range [][]byte{first, second} {
					e.Deliver(aim(b, q))
				}
			case <-time.After(time.Millisecond):
			}
		}
		e.Tick(time.Now().Add(time.Minute))
		cancel()
		<-done
		if n := len(e.exchanges) + len(e.watches); n > 0 {
			t.Errorf("%d are left", n)
		}
		e.Close()
		e.Wait()
	})
}

// aim makes b an answer to q: same token, and same id if it is an
// acknowledgement or a reset.
func aim(b, q []byte) []byte {
	var m, request frame
	if request.parse(q) != nil || m.parse(b) != nil || m.code.Class() == 0 && m.code != empty {
		return b
	}
	if m.code != empty {
		m.token = request.token
	}
	if m.typ > codec.NonConfirmable {
		m.id = request.id
	}
	out, err := m.encode()
	if err != nil {
		return b
	}
	return out
}
