package coap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"

	"github.com/latchkey-dev/latchkey"
)

func noise(n int) []byte {
	b := make([]byte, n)
	g := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func TestBlockValue(t *testing.T) {
	for _, c := range []struct {
		b    block
		want string
	}{
		{block{}, ""},
		{block{more: true}, "08"},
		{block{szx: 6}, "06"},
		{block{num: 1, more: true, szx: 2}, "1a"},
		{block{num: 15, szx: 6}, "f6"},
		{block{num: 16, szx: 6}, "0106"},
		{block{num: 4096, more: true, szx: 6}, "01000e"},
		{block{num: maxBlockNumber, more: true, szx: 6}, "fffffe"},
	} {
		c.b.set = true
		var o options
		c.b.addTo(&o, codec.Block1)
		if got := fmt.Sprintf("%x", o[0].Value); got != c.want {
			t.Errorf("%+v is %s, want %s", c.b, got, c.want)
		}
		if got := decodeBlock(o[0].Value); got != c.b {
			t.Errorf("%s is %+v, want %+v", c.want, got, c.b)
		}
	}
	for size, szx := range map[int]uint8{1: 0, 16: 0, 31: 0, 32: 1, 64: 2, 1000: 5, 1024: 6, 9999: 6} {
		if got := exponent(size); got != szx {
			t.Errorf("exponent(%d) = %d, want %d", size, got, szx)
		}
	}
}

// mirror answers with the body it got.
func mirror(_ context.Context, r *Request) *Response {
	a := NewResponse(Content)
	a.Format, a.Body = r.Format, r.Body
	return a
}

func TestBodies(t *testing.T) {
	sizes := []int{0, 1, 15, 16, 17, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 5000}
	for _, ours := range []int{16, 64, 256, 1024} {
		for _, theirs := range []int{16, 128, 1024} {
			l := newLink(t, Config{BlockSize: ours}, Config{BlockSize: theirs, Handler: mirror})
			for _, code := range []Code{POST, PUT, DELETE, FETCH, PATCH, IPATCH} {
				for _, size := range sizes {
					if size > 2000 && min(ours, theirs) < 64 {
						continue
					}
					if err := reflects(t, l.a, code, size); err != nil {
						t.Fatalf("%v of %d bytes in blocks of %d and %d: %v", code, size, ours, theirs, err)
					}
				}
			}
			idle(t, l.b)
		}
	}
	l := newLink(t, Config{}, Config{Handler: mirror})
	for _, size := range []int{64 << 10, 1<<20 - 1, 1 << 20} {
		if err := reflects(t, l.a, POST, size); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
	idle(t, l.b)
}

// reflects sends a body to mirror and compares what comes back.
func reflects(t *testing.T, e *Endpoint, code Code, size int) error {
	r := NewRequest(code, "mirror")
	r.Body, r.Format = noise(size), OctetStream
	a, err := e.Do(t.Context(), r)
	switch {
	case err != nil:
		return err
	case a.Code != Content || !bytes.Equal(a.Body, r.Body):
		return fmt.Errorf("got %v with %d bytes", a.Code, len(a.Body))
	}
	return nil
}

// idle checks that no transfer is left.
func idle(t *testing.T, e *Endpoint) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.held != 0 || len(e.uploads) != 0 || len(e.downloads) != 0 || len(e.running) != 0 {
		t.Errorf("%d bytes held, %d uploads, %d downloads, %d requests are left", e.held, len(e.uploads), len(e.downloads), len(e.running))
	}
}

// TestBodiesAtOnce moves bodies of one method to one path at the same time.
func TestBodiesAtOnce(t *testing.T) {
	l := newLink(t, Config{}, Config{Uploads: 16, Downloads: 16, Handler: mirror})
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for range 5 {
				if err := reflects(t, l.a, POST, 20_000+i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	idle(t, l.b)
}

func TestTooLarge(t *testing.T) {
	l := newLink(t, Config{MaxBody: 3000}, Config{MaxBody: 2000, Handler: func(_ context.Context, r *Request) *Response {
		a := NewResponse(Content)
		a.Body = make([]byte, len(r.Path[0]))
		return a
	}})
	r := NewRequest(PUT, "")
	r.Body = noise(3001)
	if _, err := l.a.Do(t.Context(), r); !errors.Is(err, latchkey.ErrTooLarge) {
		t.Errorf("our own limit: %v", err)
	}
	r.Body = noise(2001)
	a, err := l.a.Do(t.Context(), r)
	if err != nil || a.Code != EntityTooLarge {
		t.Fatalf("the peer's limit: %v %v", a, err)
	}
	if code, ok := CodeOf(a); !ok || code != latchkey.CodeTooLarge {
		t.Errorf("code %v", code)
	}
	idle(t, l.b)
}

// TestAnswerTooLarge has a peer whose answer never ends.
func TestAnswerTooLarge(t *testing.T) {
	for _, announced := range []int{0, 5000} {
		r := newRaw(t, Config{MaxBody: 4096})
		done := start(func() error { _, err := r.Do(t.Context(), NewRequest(GET, "a")); return err })
		asked := 0
		for end := false; !end; {
			q := r.next()
			b := q.block(codec.Block2)
			b.set, b.more, b.szx = true, true, 6
			a := con(q.id, "", Content, codec.Block2, b)
			if announced > 0 {
				a = con(q.id, "", Content, codec.Block2, b, codec.Size2, announced)
			}
			a.typ, a.token, a.payload = codec.Acknowledgement, q.token, make([]byte, 1024)
			r.Deliver(wire(t, a))
			asked++
			end = asked == 4 || announced > 0
		}
		if err := <-done; !errors.Is(err, latchkey.ErrTooLarge) {
			t.Errorf("announced %d: %v after %d blocks", announced, err, asked)
		}
	}
}

// TestUploadSteps sends blocks by hand.
func TestUploadSteps(t *testing.T) {
	type step struct {
		num   uint32
		more  bool
		szx   uint8
		bytes int
		size1 int
		want  string
	}
	for name, steps := range map[string][]step{
		"whole":                      {{0, false, 2, 64, 0, "2.04 64"}},
		"short last":                 {{0, true, 2, 64, 65, "2.31"}, {1, false, 2, 1, 0, "2.04 65"}},
		"empty last":                 {{0, true, 2, 64, 0, "2.31"}, {1, false, 2, 0, 0, "2.04 64"}},
		"gap":                        {{0, true, 2, 64, 0, "2.31"}, {2, true, 2, 64, 0, "4.08"}, {1, true, 2, 64, 0, "4.08"}},
		"last first":                 {{3, false, 2, 10, 0, "4.08"}},
		"middle first":               {{3, true, 2, 64, 0, "4.08"}},
		"repeated block":             {{0, true, 2, 64, 0, "2.31"}, {1, true, 2, 64, 0, "2.31"}, {1, true, 2, 64, 0, "4.08"}},
		"begun anew":                 {{0, true, 2, 64, 0, "2.31"}, {1, true, 2, 64, 0, "2.31"}, {0, true, 2, 64, 0, "2.31"}, {1, false, 2, 9, 0, "2.04 73"}},
		"smaller blocks on the way":  {{0, true, 3, 128, 0, "2.31"}, {4, true, 1, 32, 0, "2.31"}, {5, false, 1, 32, 0, "2.04 192"}},
		"larger blocks on the way":   {{0, true, 1, 32, 0, "2.31"}, {1, true, 1, 32, 0, "2.31"}, {1, false, 2, 64, 0, "2.04 128"}},
		"block shorter than it says": {{0, true, 2, 63, 0, "4.00"}},
		"block longer than it says":  {{0, true, 2, 65, 0, "4.00"}},
		"last longer than it says":   {{0, false, 2, 65, 0, "4.00"}},
		"announced too large":        {{0, true, 2, 64, 257, "4.13"}},
		"announced far too large":    {{0, true, 2, 64, 1<<31 - 1, "4.13"}},
		"announced later":            {{0, true, 2, 64, 0, "2.31"}, {1, true, 2, 64, 257, "4.13"}, {1, true, 2, 64, 0, "4.08"}},
		"block number too large":     {{4, true, 2, 64, 0, "4.13"}},
		"largest block number":       {{maxBlockNumber, true, 6, 1024, 0, "4.13"}},
		"grows too large":            {{0, true, 3, 128, 0, "2.31"}, {1, true, 3, 128, 0, "2.31"}, {2, false, 3, 1, 0, "4.13"}},
		"just fits":                  {{0, true, 3, 128, 256, "2.31"}, {1, false, 3, 128, 0, "2.04 256"}},
		"one block too large":        {{0, false, 5, 257, 0, "4.13"}},
	} {
		r := newRaw(t, Config{MaxBody: 256, Handler: func(_ context.Context, r *Request) *Response {
			a := NewResponse(Changed)
			a.Body = fmt.Append(nil, len(r.Body))
			return a
		}})
		for i, s := range steps {
			m := con(uint16(i), "t", PUT, codec.URIPath, "a", codec.Block1, block{num: s.num, more: s.more, szx: s.szx})
			if s.size1 > 0 {
				m = con(uint16(i), "t", PUT, codec.URIPath, "a", codec.Block1, block{num: s.num, more: s.more, szx: s.szx}, codec.Size1, s.size1)
			}
			got := r.ask(m.with(strings.Repeat("x", s.bytes)))
			text := strings.TrimSpace(got.code.String() + " " + string(got.payload))
			if got.typ != codec.Acknowledgement || text != s.want {
				t.Errorf("%s: step %d got %v, want %s", name, i, got, s.want)
			}
			echo := got.block(codec.Block1)
			if wanted := got.code.Class() == 2; echo.set != wanted || wanted && (echo.num != s.num || echo.more != s.more) {
				t.Errorf("%s: step %d acknowledged %+v", name, i, echo)
			}
			if size, ok := got.option(codec.Size1); got.code == EntityTooLarge && (!ok || decodeUint(size) != 256) {
				t.Errorf("%s: step %d says that %d would fit", name, i, decodeUint(size))
			}
		}
		forget(r.Endpoint)
		idle(t, r.Endpoint)
	}
}

// TestUploadsAreKeptApart interleaves uploads that differ in one thing.
func TestUploadsAreKeptApart(t *testing.T) {
	variants := [][]any{
		{codec.URIPath, "a"},
		{codec.URIPath, "b"},
		{codec.URIPath, "a", codec.URIQuery, "q"},
		{codec.URIPath, "a", codec.Accept, 50},
		{codec.URIPath, "a", codec.ContentFormat, 50},
		{codec.URIPath, "a", requestTag, "1"},
		{codec.URIPath, "a", requestTag, "2"},
		{codec.URIPath, "a", codec.URIHost, "h"},
	}
	r := newRaw(t, Config{Uploads: 16, Handler: mirror})
	var id uint16
	for num := range uint32(3) {
		for i, v := range variants {
			id++
			m := con(id, fmt.Sprint(id), PUT, append([]any{codec.Block1, block{num: num, more: num < 2}}, v...)...)
			got := r.ask(m.with(strings.Repeat(string(rune('a'+i)), 16)))
			want := Continue
			if num == 2 {
				want = Content
			}
			if got.code != want {
				t.Fatalf("block %d of %d got %v", num, i, got)
			}
			if num == 2 && string(got.payload) != strings.Repeat(string(rune('a'+i)), 48) {
				t.Errorf("upload %d became %q", i, got.payload)
			}
		}
	}
}

func TestUploadCaps(t *testing.T) {
	release := make(chan struct{})
	r := newRaw(t, Config{MaxBody: 64, Uploads: 2, Handler: func(context.Context, *Request) *Response {
		<-release
		return NewResponse(Changed)
	}})
	var id uint16
	put := func(path string, num uint32, more bool) *message {
		id++
		return con(id, path, PUT, codec.URIPath, path, codec.Block1, block{num: num, more: more}).with(strings.Repeat("x", 16))
	}
	expect := func(want Code, m *message) {
		t.Helper()
		if got := r.ask(m); got.code != want {
			t.Fatalf("%v got %v, want %v", m, got, want)
		}
	}
	expect(Continue, put("a", 0, true))
	expect(Continue, put("b", 0, true))
	expect(TooManyRequests, put("c", 0, true))
	expect(EntityIncomplete, put("c", 1, true))
	r.Tick(time.Now().Add(transferIdle + time.Second))
	expect(EntityIncomplete, put("a", 1, true))
	idle(t, r.Endpoint)
	// Bodies of requests that run count, too: two of the largest size, no more.
	for _, path := range []string{"a", "b"} {
		for num := range uint32(3) {
			expect(Continue, put(path, num, true))
		}
		r.Deliver(wire(t, put(path, 3, false)))
	}
	expect(TooManyRequests, put("c", 0, true))
	close(release)
	r.next()
	r.next()
	expect(Continue, put("c", 0, true))
	forget(r.Endpoint)
	expect(EntityIncomplete, put("c", 1, true))
	idle(t, r.Endpoint)
}

// TestStaleUploadGivesWay abandons uploads and begins others.
func TestStaleUploadGivesWay(t *testing.T) {
	e := New(Config{Send: func([]byte) error { return nil }, Log: quiet, Uploads: 2})
	defer e.Close()
	now := time.Now()
	begin := func(path string, at time.Time) bool {
		j := &job{transfer: transfer{block1: block{set: true, more: true}}}
		j.request = Request{Code: PUT, Path: []string{path}, Body: make([]byte, 16)}
		return e.uploadLocked(j, at).Code == Continue
	}
	for i, ok := range []bool{true, true, false} {
		if begin(fmt.Sprint(i), now.Add(time.Duration(i)*time.Second)) != ok {
			t.Fatalf("upload %d: %v", i, !ok)
		}
	}
	if !begin("later", now.Add(transferStale)) || len(e.uploads) != 2 || e.held != 32 {
		t.Errorf("%d uploads, %d bytes", len(e.uploads), e.held)
	}
	if e.uploads[0].key == "" || strings.Contains(e.uploads[0].key, "0") && strings.Contains(e.uploads[1].key, "0") {
		t.Error("the wrong upload gave way")
	}
}

// TestDownloadSteps asks for blocks by hand.
func TestDownloadSteps(t *testing.T) {
	body := noise(200)
	var ran atomic.Int64
	r := newRaw(t, Config{BlockSize: 64, Handler: func(_ context.Context, r *Request) *Response {
		ran.Add(1)
		a := NewResponse(Content)
		a.Format, a.Body = OctetStream, body
		return a
	}})
	var id uint16
	get := func(code Code, list ...any) *message {
		id++
		return r.ask(con(id, fmt.Sprint(id), code, append([]any{codec.URIPath, "a"}, list...)...))
	}
	first := get(GET)
	if b := first.block(codec.Block2); b != (block{true, true, 2, 0}) || !bytes.Equal(first.payload, body[:64]) {
		t.Fatalf("first block %v", first)
	}
	if size, _ := first.option(codec.Size2); decodeUint(size) != 200 {
		t.Errorf("announced %d bytes", decodeUint(size))
	}
	tag, ok := first.option(codec.ETag)
	if !ok {
		t.Error("no ETag")
	}
	for num := uint32(1); num < 4; num++ {
		b := get(GET, codec.Block2, block{num: num, szx: 2})
		if got := b.block(codec.Block2); got != (block{true, num < 3, 2, num}) || !bytes.Equal(b.payload, body[num*64:min(200, num*64+64)]) {
			t.Fatalf("block %d: %v", num, b)
		}
		if again, _ := b.option(codec.ETag); !bytes.Equal(again, tag) {
			t.Errorf("block %d: ETag %x, was %x", num, again, tag)
		}
	}
	if ran.Load() != 1 {
		t.Errorf("the Handler ran %d times for one transfer", ran.Load())
	}
	for _, c := range []struct {
		name    string
		code    Code
		want    block
		answer  Code
		got     block
		payload []byte
		runs    int64
	}{
		{"smaller", GET, block{num: 3, szx: 1}, Content, block{true, true, 1, 3}, body[96:128], 1},
		{"larger than we send", GET, block{num: 1, szx: 3}, Content, block{true, true, 2, 2}, body[128:192], 0},
		{"last", GET, block{num: 12, szx: 0}, Content, block{true, false, 0, 12}, body[192:], 0},
		{"beyond the end", GET, block{num: 4, szx: 2}, BadRequest, block{}, nil, 1},
		{"far beyond the end", GET, block{num: maxBlockNumber, szx: 6}, BadRequest, block{}, nil, 0},
		{"first, asked for", GET, block{szx: 1}, Content, block{true, true, 1, 0}, body[:32], 1},
		{"from the middle of nothing", POST, block{num: 1, szx: 2}, EntityIncomplete, block{}, nil, 0},
		{"from the middle of nothing, without body", FETCH, block{num: 1, szx: 2}, EntityIncomplete, block{}, nil, 0},
	} {
		ran.Store(0)
		a := get(c.code, codec.Block2, c.want)
		if a.code != c.answer || a.block(codec.Block2) != c.got || !bytes.Equal(a.payload, c.payload) || ran.Load() != c.runs {
			t.Errorf("%s: %v %+v after %d runs", c.name, a, a.block(codec.Block2), ran.Load())
		}
	}
}

func TestDownloadCaps(t *testing.T) {
	r := newRaw(t, Config{Downloads: 2, Handler: func(context.Context, *Request) *Response {
		a := NewResponse(Content)
		a.Body = make([]byte, 3000)
		return a
	}})
	for i := range 100 {
		r.ask(con(uint16(i), "t", POST, codec.URIPath, fmt.Sprint(i)))
	}
	if len(r.downloads) != 2 {
		t.Errorf("%d downloads are kept", len(r.downloads))
	}
	if got := r.ask(con(1000, "t", POST, codec.URIPath, "99", codec.Block2, block{num: 1, szx: 6})); got.code != Content {
		t.Errorf("latest: %v", got)
	}
	if got := r.ask(con(1001, "t", POST, codec.URIPath, "0", codec.Block2, block{num: 1, szx: 6})); got.code != EntityIncomplete {
		t.Errorf("oldest: %v", got)
	}
	r.Tick(time.Now().Add(transferIdle + time.Second))
	idle(t, r.Endpoint)
}

// TestBodyChanges changes a representation while it is fetched.
func TestBodyChanges(t *testing.T) {
	for changes, ok := range map[int]bool{0: true, 1: true, 2: true, 100: false} {
		var version atomic.Int64
		l := newLink(t, Config{}, Config{Handler: func(context.Context, *Request) *Response {
			a := NewResponse(Content)
			a.Body = bytes.Repeat([]byte{byte(version.Load())}, 5000)
			return a
		}})
		left := changes
		l.tamper = func(fromA bool, d []byte) [][]byte {
			if fromA && left > 0 && read(t, d).block(codec.Block2).num == 2 {
				left--
				version.Add(1)
				forget(l.b)
			}
			return [][]byte{d}
		}
		a, err := l.a.Do(t.Context(), NewRequest(GET, "a"))
		switch {
		case !ok:
			if !errors.Is(err, latchkey.ErrProtocol) {
				t.Errorf("%d changes: %v", changes, err)
			}
		case err != nil:
			t.Errorf("%d changes: %v", changes, err)
		default:
			if want := bytes.Repeat([]byte{byte(changes)}, 5000); !bytes.Equal(a.Body, want) {
				t.Errorf("%d changes: parts of several versions", changes)
			}
		}
	}
}

// TestPeerWantsSmallerBlocks answers our upload by hand.
func TestPeerWantsSmallerBlocks(t *testing.T) {
	for name, first := range map[string]Code{"while it goes on": Continue, "before it begins": EntityTooLarge} {
		r := newRaw(t, Config{})
		body := noise(1100)
		done := start(func() error {
			q := NewRequest(PUT, "a")
			q.Body = body
			a, err := r.Do(t.Context(), q)
			if err == nil && a.Code != Changed {
				err = fmt.Errorf("answer %v", a.Code)
			}
			return err
		})
		var got []byte
		code := first
		for {
			q := r.next()
			b := q.block(codec.Block1)
			if len(got) > 0 && b.szx != 4 {
				t.Fatalf("%s: goes on with blocks of %d bytes", name, b.size())
			}
			if code != EntityTooLarge {
				if b.offset() != len(got) {
					t.Fatalf("%s: block at %d after %d bytes", name, b.offset(), len(got))
				}
				got = append(got, q.payload...)
			}
			if !b.more {
				code = Changed
			}
			b.szx = 4
			a := con(q.id, "", code, codec.Block1, b)
			a.typ, a.token = codec.Acknowledgement, q.token
			r.Deliver(wire(t, a))
			if code == Changed {
				break
			}
			code = Continue
		}
		if err := <-done; err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: %v, %d bytes arrived", name, err, len(got))
		}
	}
}

// TestReviewWhileTheHandlerRuns changes the peer's rights while an answer is
// being made: its first block goes out, the next one is asked for anew.
func TestReviewWhileTheHandlerRuns(t *testing.T) {
	started, release := make(chan bool), make(chan bool)
	r := newRaw(t, Config{Handler: func(context.Context, *Request) *Response {
		started <- true
		<-release
		a := NewResponse(Content)
		a.Body = make([]byte, 3000)
		return a
	}})
	r.Deliver(wire(t, con(1, "a", GET, codec.URIPath, "a")))
	<-started
	r.Review(func(*Request) *Response { return nil })
	release <- true
	if got := r.next(); got.code != Content || len(r.downloads) != 0 {
		t.Errorf("%v, %d answers are kept", got, len(r.downloads))
	}
	r.Deliver(wire(t, con(2, "b", GET, codec.URIPath, "a", codec.Block2, block{num: 1, szx: 6})))
	<-started
	release <- true
	r.next()
}
