package coap

import (
	"bytes"
	"context"
	"encoding/hex"
	"strings"
	"testing"

	codec "github.com/plgd-dev/go-coap/v3/message"
)

// TestDatagrams shows what one datagram from the peer is answered with, before
// anything reaches a Handler.
func TestDatagrams(t *testing.T) {
	for _, c := range []struct{ name, datagram, want string }{
		{"nothing", "", ""},
		{"three bytes", "400000", ""},
		{"version 0", "00010001", ""},
		{"version 2", "80010001", ""},
		{"version 3", "c0010001", ""},
		{"token length 9", "49010001010203040506070809", "70000001"},
		{"token length 15", "4f010001", "70000001"},
		{"token length 9, non-confirmable", "59010001010203040506070809", ""},
		{"token cut short", "4801000101020304", "70000001"},
		{"ping", "40000001", "70000001"},
		{"ping with a token", "4100000155", "70000001"},
		{"ping with payload", "40000001ff01", "70000001"},
		{"empty non-confirmable", "50000001", ""},
		{"acknowledgement of nothing", "60000001", ""},
		{"reset of nothing", "70000001", ""},
		{"request in an acknowledgement", "60010001", ""},
		{"request in a reset", "70010001", ""},
		{"response in a reset", "70450001", ""},
		{"response to nothing", "40450001", "70000001"},
		{"response to nothing, non-confirmable", "50450001", ""},
		{"response to nothing, acknowledgement", "60450001", ""},
		{"notification of nothing, non-confirmable", "5045000160", "70000001"},
		{"class 1", "40200001", "70000001"},
		{"class 3", "40600001", "70000001"},
		{"class 6", "40c00001", "70000001"},
		{"class 7", "40e10001", "70000001"},
		{"class 7, non-confirmable", "50e10001", ""},
		{"option delta 15", "40010001f0", "70000001"},
		{"option length 15", "400100011f", "70000001"},
		{"option delta needs a byte", "40010001d0", "70000001"},
		{"option delta needs two bytes", "40010001e000", "70000001"},
		{"option length needs a byte", "400100011d", "70000001"},
		{"option length needs two bytes", "400100011e00", "70000001"},
		{"option value cut short", "40010001b46c6967", "70000001"},
		{"option number beyond 65535", "40010001e0fef3e00001", "70000001"},
		{"payload marker without payload", "40010001ff", "70000001"},
		{"payload marker without payload after an option", "40010001b161ff", "70000001"},
		{"value that ends like a marker", "40010001b1ff", "60450001"},
		{"method 0.08", "40080001", "60850001"},
		{"method 0.31", "401f0001", "60850001"},
		{"Proxy-Uri", "40010001d816636f61703a2f2f78", "60a50001"},
		{"Proxy-Scheme", "40010001d41a636f6170", "60a50001"},
		{"unknown critical option 9", "4001000190", "60820001"},
		{"unknown elective option 10", "40010001a0", "60450001"},
		{"If-Match, not understood", "400100011101", "60820001"},
		{"If-None-Match, not understood", "4001000150", "60820001"},
		{"Uri-Port of 3 bytes", "4001000173000001", "60820001"},
		{"Uri-Host without a name", "4001000130", "60820001"},
		{"Accept twice", "40010001d104320132", "60820001"},
		{"Accept of 3 bytes", "40010001d304000001", "60820001"},
		{"Content-Format of 3 bytes is left out", "40010001c3000001", "60450001"},
		{"Block2 of 4 bytes", "40010001d40a00000001", "60820001"},
		{"Block2 with size 7", "40010001d10a07", "60800001"},
		{"Block1 with size 7", "40030001d10e07", "60800001"},
	} {
		r := newRaw(t, Config{Handler: func(context.Context, *Request) *Response { return NewResponse(Content) }})
		r.Deliver(unhex(c.datagram))
		r.workers.close() // waits for a handler that runs
		r.workers.wait()
		var got string
		for _, b := range r.take() {
			got += hex.EncodeToString(b)
		}
		if got != c.want {
			t.Errorf("%s: %s answered by %q, want %q", c.name, c.datagram, got, c.want)
		}
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// TestOptions shows which requests reach the Handler, and as what.
func TestOptions(t *testing.T) {
	long := strings.Repeat("x", 255)
	many := make([]any, 0, 128)
	for range 64 {
		many = append(many, codec.URIPath, "p")
	}
	for _, c := range []struct {
		name string
		m    *message
		code Code
		path string
	}{
		{"path and query", con(1, "t", GET, codec.URIPath, "a", codec.URIPath, "b c", codec.URIQuery, "x=1", codec.URIQuery, "y"), Content, "a|b c?x=1&y"},
		{"path as received", con(1, "t", GET, codec.URIPath, "..", codec.URIPath, "", codec.URIPath, "a/b\x00\xff"), Content, "..||a/b\x00\xff"},
		{"longest segment", con(1, "t", GET, codec.URIPath, long), Content, long},
		{"segment too long", con(1, "t", GET, codec.URIPath, long+"x"), BadOption, ""},
		{"query too long", con(1, "t", GET, codec.URIQuery, long+"x"), BadOption, ""},
		{"host 255", con(1, "t", GET, codec.URIHost, long), Content, ""},
		{"host 256", con(1, "t", GET, codec.URIHost, long+"x"), BadOption, ""},
		{"host twice", con(1, "t", GET, codec.URIHost, "a", codec.URIHost, "b"), BadOption, ""},
		{"port twice", con(1, "t", GET, codec.URIPort, 1, codec.URIPort, 2), BadOption, ""},
		{"accept twice", con(1, "t", GET, codec.Accept, 0, codec.Accept, 50), BadOption, ""},
		{"block2 twice", con(1, "t", GET, codec.Block2, block{szx: 6}, codec.Block2, block{szx: 6}), BadOption, ""},
		{"elective option twice", con(1, "t", GET, codec.MaxAge, 1, codec.MaxAge, 2), Content, ""},
		{"64 options", con(1, "t", GET, many...), Content, strings.TrimSuffix(strings.Repeat("p|", 64), "|")},
		{"65 options", con(1, "t", GET, append(many, codec.URIPath, "p")...), BadOption, ""},
		{"critical option that is understood", con(1, "t", GET, codec.IfNoneMatch, ""), Content, ""},
		{"critical option 65001", con(1, "t", GET, codec.OptionID(65001), ""), BadOption, ""},
		{"elective option 65000", con(1, "t", GET, codec.OptionID(65000), "x"), Content, ""},
		{"proxy uri too long", con(1, "t", GET, codec.ProxyURI, strings.Repeat("x", 1035)), ProxyingNotSupported, ""},
	} {
		var path string
		r := newRaw(t, Config{Critical: []uint16{IfNoneMatch}, Handler: func(_ context.Context, r *Request) *Response {
			path = strings.Join(r.Path, "|")
			if len(r.Query) > 0 {
				path += "?" + strings.Join(r.Query, "&")
			}
			return NewResponse(Content)
		}})
		got := r.ask(c.m)
		if got.typ != codec.Acknowledgement || got.id != 1 || got.token != tok("t") || got.code != c.code || path != c.path {
			t.Errorf("%s: got %v for path %q, want %v for %q", c.name, got, path, c.code, c.path)
		}
	}
}

// TestOptionsPassThrough sends every option that a forwarder needs there and
// back, and shows which ones the endpoint keeps for itself.
func TestOptionsPassThrough(t *testing.T) {
	sent := []Option{
		{IfMatch, []byte{1, 2}},
		{IfMatch, []byte{3}},
		{URIHost, []byte("example")},
		{ETag, []byte{9}},
		{URIPort, []byte{0x16, 0x33}},
		{MaxAge, []byte{60}},
		{Echo, []byte("fresh")},
		{65000, []byte{4}},
	}
	ours := []Option{{uint16(codec.Block1), []byte{8}}, {uint16(codec.NoResponse), []byte{26}}, {uint16(codec.Observe), nil}, {uint16(codec.URIPath), []byte("x")}}
	var got *Request
	l := newLink(t, Config{}, Config{Critical: []uint16{IfMatch}, Handler: func(_ context.Context, r *Request) *Response {
		got = r
		a := NewResponse(Changed)
		a.Options = append([]Option{{65000, []byte{7}}, {LocationPath, []byte("a")}, {ETag, []byte{1}}, {LocationPath, []byte("b")}}, ours...)
		return a
	}})
	r := NewRequest(POST, "a", "")
	r.Query = []string{"q", ""}
	r.Format, r.Accept = CBOR, JSON
	r.Options = append(append([]Option(nil), sent...), ours...)
	r.Body = []byte("body")
	a, err := l.a.Do(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if !sameOptions(got.Options, sent) {
		t.Errorf("request options %v, want %v", got.Options, sent)
	}
	if strings.Join(got.Path, "|") != "a|" || strings.Join(got.Query, "|") != "q|" || got.Format != CBOR || got.Accept != JSON ||
		got.Observe != NoObserve || string(got.Body) != "body" || got.Code != POST {
		t.Errorf("request %+v", got)
	}
	want := []Option{{ETag, []byte{1}}, {LocationPath, []byte("a")}, {LocationPath, []byte("b")}, {65000, []byte{7}}}
	if !sameOptions(a.Options, want) {
		t.Errorf("response options %v, want %v", a.Options, want)
	}
}

func sameOptions(a, b []Option) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Number != b[i].Number || !bytes.Equal(a[i].Value, b[i].Value) {
			return false
		}
	}
	return true
}
