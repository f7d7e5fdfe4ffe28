package coap

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/mux"
	coapnet "github.com/plgd-dev/go-coap/v3/net"
	"github.com/plgd-dev/go-coap/v3/net/blockwise"
	foreign "github.com/plgd-dev/go-coap/v3/options"
	"github.com/plgd-dev/go-coap/v3/tcp"
)

var inBlocks = foreign.WithBlockwise(true, blockwise.SZX1024, 10*time.Second)

// soon runs what the foreign peer does from time to time, and lets it end soon
// after the peer.
var soon = foreign.WithPeriodicRunner(func(f func(time.Time) bool) {
	go func() {
		for f(time.Now()) {
			time.Sleep(10 * time.Millisecond)
		}
	}()
})

func TestStreamForeignClient(t *testing.T) {
	src := newSource()
	src.set([]byte("one"))
	large := bytes.Repeat([]byte("0123456789"), 5000)
	x, y := tcpPair(t)
	s, _ := served(t, x, Config{Handler: func(ctx context.Context, r *Request) *Response {
		if r.Path[0] == "state" {
			return src.handle(ctx, r)
		}
		a := NewResponse(Content)
		a.Format, a.Body = OctetStream, large
		if r.Code == PUT {
			a.Code, a.Body = Changed, []byte(strings.ToUpper(string(r.Body)))
		}
		return a
	}})
	c, err := tcp.Client(y, inBlocks, soon, foreign.WithCloseSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(); <-c.Done() }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.Ping(ctx); err != nil {
		t.Error("ping:", err)
	}
	if err := s.Ping(ctx); err != nil {
		t.Error("our ping:", err)
	}
	got, err := c.Get(ctx, "/large")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := got.ReadBody(); err != nil || !bytes.Equal(b, large) {
		t.Errorf("GET brought %d bytes, %v", len(b), err)
	}
	body := strings.Repeat("body", 2000)
	got, err = c.Put(ctx, "/put", codec.TextPlain, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := got.ReadBody(); err != nil || string(b) != strings.ToUpper(body) {
		t.Errorf("PUT brought %d bytes, %v", len(b), err)
	}
	states := make(chan string, 10)
	o, err := c.Observe(ctx, "/state", func(m *pool.Message) {
		b, _ := m.ReadBody()
		states <- string(b)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one", "two", "three"} {
		if want != "one" {
			src.set([]byte(want))
		}
		select {
		case b := <-states:
			if b != want {
				t.Errorf("notified of %q, want %q", b, want)
			}
		case <-ctx.Done():
			t.Fatalf("not notified of %q", want)
		}
	}
	if err := o.Cancel(ctx); err != nil {
		t.Error("deregistration:", err)
	}
}

func TestStreamForeignServer(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789"), 5000)
	routes := mux.NewRouter()
	routes.HandleFunc("/large", func(w mux.ResponseWriter, r *mux.Message) {
		b := large
		if r.Code() == codes.PUT {
			b, _ = io.ReadAll(r.Body())
		}
		_ = w.SetResponse(codes.Content, codec.AppOctets, bytes.NewReader(b))
	})
	l, err := coapnet.NewTCPListener("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := tcp.NewServer(foreign.WithMux(routes), inBlocks, soon)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); _ = l.Close(); <-done })
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, _ := served(t, conn, Config{})
	if err := s.Ping(t.Context()); err != nil {
		t.Error("ping:", err)
	}
	got, err := s.Do(t.Context(), NewRequest(GET, "large"))
	if err != nil || !bytes.Equal(got.Body, large) {
		t.Error("GET:", got, err)
	}
	put := NewRequest(PUT, "large")
	put.Body = noise(1024)
	if got, err := s.Do(t.Context(), put); err != nil || !bytes.Equal(got.Body, put.Body) {
		t.Error("PUT:", got, err)
	}
	if got, err := s.Do(t.Context(), NewRequest(GET, "none")); err != nil || got.Code != NotFound {
		t.Error("unknown path:", got, err)
	}
}
