package coap

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// served runs a stream until the test ends and hands out why Serve returned.
func served(t testing.TB, conn net.Conn, cfg Config) (*Stream, <-chan error) {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = quiet
	}
	s := NewStream(conn, cfg)
	end := make(chan error, 1)
	var group sync.WaitGroup
	group.Go(func() { end <- s.Serve() })
	stop := make(chan struct{})
	group.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				s.Tick(now)
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() { s.Close(); close(stop); group.Wait() })
	return s, end
}

// tcpPair returns both ends of a TCP connection.
func tcpPair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func streams(t testing.TB, a, b Config) (*Stream, *Stream, <-chan error, <-chan error) {
	t.Helper()
	x, y := tcpPair(t)
	s, sEnd := served(t, x, a)
	r, rEnd := served(t, y, b)
	return s, r, sEnd, rEnd
}

func await(t testing.TB, end <-chan error) error {
	t.Helper()
	select {
	case err := <-end:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("stream does not end")
		return nil
	}
}

func TestStreamMovesBodies(t *testing.T) {
	upper := func(_ context.Context, r *Request) *Response {
		a := NewResponse(Changed)
		a.Format, a.Body = OctetStream, bytes.ToUpper(r.Body)
		return a
	}
	a, b, _, _ := streams(t, Config{Handler: upper}, Config{Handler: upper})
	for _, s := range []*Stream{a, b} {
		for _, n := range []int{0, 1, 12, 13, 268, 269, 1024, 1025, 100_000, 1 << 20} {
			r := NewRequest(POST, "upper")
			r.Body = bytes.Repeat([]byte("x"), n)
			got, err := s.Do(t.Context(), r)
			if err != nil || got.Code != Changed || len(got.Body) != n || n > 0 && got.Body[n-1] != 'X' {
				t.Fatalf("%d bytes: %v %v", n, got, err)
			}
		}
		if err := s.Ping(t.Context()); err != nil {
			t.Error("ping:", err)
		}
	}
}

func TestStreamSlowAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		slow := func(context.Context, *Request) *Response {
			time.Sleep(10 * time.Minute)
			return NewResponse(Content)
		}
		a, _ := served(t, x, Config{})
		served(t, y, Config{Handler: slow})
		if r, err := a.Do(t.Context(), NewRequest(GET, "slow")); err != nil || r.Code != Content {
			t.Fatal(r, err)
		}
	})
}

func TestStreamObserve(t *testing.T) {
	src := newSource()
	src.set([]byte("one"))
	a, _, _, _ := streams(t, Config{}, Config{Handler: src.handle})
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan string, 100)
	end := make(chan error, 1)
	go func() {
		end <- a.Observe(ctx, NewRequest(GET, "state"), func(r *Response) { got <- string(r.Body) })
	}()
	large := strings.Repeat("large", 1000)
	for _, want := range []string{"one", "two", large, "three"} {
		if want != "one" {
			src.set([]byte(want))
		}
		select {
		case s := <-got:
			if s != want {
				t.Fatalf("got %.20q, want %.20q", s, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%.20q did not come", want)
		}
	}
	cancel()
	if err := <-end; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A server may send every notification with the same, even an empty, Observe
// value: the order of a stream is enough (RFC 8323 section 7.1).
func TestStreamObserveWithoutNumbers(t *testing.T) {
	x, y := tcpPair(t)
	a, _ := served(t, x, Config{})
	got := make(chan string, 10)
	end := make(chan error, 1)
	go func() {
		end <- a.Observe(t.Context(), NewRequest(GET, "x"), func(r *Response) { got <- string(r.Body) })
	}()
	peer := newPlain(t, y)
	peer.write("00e1")
	request := peer.next()
	for _, body := range []string{"a", "b", "c"} {
		m := &message{code: Content, token: request.token, payload: []byte(body)}
		var o options
		o.bytes(6, nil)
		m.options = o.sorted()
		peer.send(m)
		if s := <-got; s != body {
			t.Fatalf("got %q, want %q", s, body)
		}
	}
	peer.send(&message{code: NotFound, token: request.token})
	if err := <-end; err != nil {
		t.Error(err)
	}
}

// A plain peer speaks frame by frame.
type plain struct {
	t    testing.TB
	conn net.Conn
	in   frameReader
}

func newPlain(t testing.TB, conn net.Conn) *plain {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	p := &plain{t: t, conn: conn, in: frameReader{from: bufio.NewReader(conn)}}
	if m := p.next(); m.code != signalCSM || m.options[0].ID != 2 || decodeUint(m.options[0].Value) != 1152 || m.options[1].ID != 4 {
		t.Fatal("no CSM came first, but", m)
	}
	return p
}

func (p *plain) write(digits string) {
	p.t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *plain) send(m *message) {
	p.t.Helper()
	if _, err := p.conn.Write(appendFrame(nil, wire(p.t, m))); err != nil {
		p.t.Fatal(err)
	}
}

func (p *plain) next() *message {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	b, err := p.in.next(0)
	if err != nil {
		p.t.Fatal(err)
	}
	return read(p.t, b)
}

func (p *plain) ended() {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if b, err := p.in.next(0); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Errorf("the connection goes on: %x %v", b, err)
	}
}

func TestStreamSignals(t *testing.T) {
	for _, c := range []struct{ name, sent, want string }{
		{"ping", "00e1 02e2abcd", "NON 7.03 id=0 t=\xab\xcd"},
		{"ping with custody", "00e1 12e2abcd20", "NON 7.03 id=0 t=\xab\xcd"},
		{"empty messages", "00e1 0000 2000ffff 01e207", "NON 7.03 id=0 t=\x07"},
		{"unknown signal", "00e1 00ff 01e207", "NON 7.03 id=0 t=\x07"},
		{"pong of nothing", "00e1 02e31234 01e207", "NON 7.03 id=0 t=\x07"},
		{"request", "00e1 21015a b161", "NON 2.05 id=0 t=Z 12= \"hello\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, y := tcpPair(t)
			served(t, x, Config{Handler: echo})
			peer := newPlain(t, y)
			peer.write(c.sent)
			if got := peer.next().String(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestStreamRefuses(t *testing.T) {
	for _, c := range []struct {
		name, sent string
		cause      error
		option     string // Bad-CSM-Option
	}{
		{"request before CSM", "0001", latchkey.ErrProtocol, ""},
		{"empty before CSM", "0000", latchkey.ErrProtocol, ""},
		{"ping before CSM", "00e2", latchkey.ErrProtocol, ""},
		{"critical option in CSM", "10e110", latchkey.ErrProtocol, "\x01"},
		{"critical option in ping", "00e1 10e230", latchkey.ErrProtocol, ""},
		{"token of 9 bytes", "00e1 0901000102030405060708", latchkey.ErrProtocol, ""},
		{"marker without payload", "00e1 1001ff", latchkey.ErrProtocol, ""},
		{"option beyond the end", "00e1 1001b5", latchkey.ErrProtocol, ""},
		{"4 GiB", "00e1 f0ffffffff01", latchkey.ErrTooLarge, ""},
		{"more than fits", "00e1 e04000 01", latchkey.ErrTooLarge, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, y := tcpPair(t)
			_, end := served(t, x, Config{Handler: echo})
			peer := newPlain(t, y)
			peer.write(c.sent)
			m := peer.next()
			if m.code != signalAbort || len(m.payload) == 0 {
				t.Errorf("got %s, want an Abort with its reason", m)
			}
			if v, _ := m.option(abortBadCSMOption); string(v) != c.option {
				t.Errorf("Bad-CSM-Option %x, want %x", v, c.option)
			}
			peer.ended()
			if err := await(t, end); !errors.Is(err, c.cause) {
				t.Errorf("cause %v, want %v", err, c.cause)
			}
		})
	}
}

func TestStreamEnds(t *testing.T) {
	for _, c := range []struct {
		name, sent string
		cause      error
	}{
		{"at once", "", io.EOF},
		{"after CSM", "00e1", io.EOF},
		{"inside a frame", "00e1 5001b1", io.ErrUnexpectedEOF},
		{"inside a length", "00e1 e0", io.ErrUnexpectedEOF},
		{"release", "00e1 00e4", ErrReleased},
		{"release with options", "00e1 60e4 24 61626364 21", latchkey.ErrProtocol},
		{"abort", "00e1 40e5 ff627965", ErrAborted},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, y := tcpPair(t)
			_, end := served(t, x, Config{})
			peer := newPlain(t, y)
			peer.write(c.sent)
			if c.cause == io.EOF || c.cause == io.ErrUnexpectedEOF {
				y.Close()
			}
			if err := await(t, end); !errors.Is(err, c.cause) {
				t.Errorf("cause %v, want %v", err, c.cause)
			}
		})
	}
}

func TestStreamCloseIsARelease(t *testing.T) {
	a, _, aEnd, bEnd := streams(t, Config{}, Config{Handler: echo})
	if _, err := a.Do(t.Context(), NewRequest(GET)); err != nil {
		t.Fatal(err)
	}
	a.Close()
	if err := await(t, aEnd); err != nil {
		t.Error("our end:", err)
	}
	if err := await(t, bEnd); !errors.Is(err, ErrReleased) {
		t.Error("peer's end:", err)
	}
	if _, err := a.Do(t.Context(), NewRequest(GET)); !errors.Is(err, net.ErrClosed) {
		t.Error("request after the end:", err)
	}
}

// What waits for an answer when the peer releases still gets it.
func TestStreamReleaseLetsAnswersCome(t *testing.T) {
	x, y := tcpPair(t)
	a, end := served(t, x, Config{})
	peer := newPlain(t, y)
	peer.write("00e1")
	answered := make(chan error, 1)
	go func() {
		_, err := a.Do(t.Context(), NewRequest(GET, "x"))
		answered <- err
	}()
	request := peer.next()
	peer.write("00e4")
	peer.send(&message{code: Content, token: request.token})
	if err := <-answered; err != nil {
		t.Error(err)
	}
	y.Close()
	if err := await(t, end); !errors.Is(err, ErrReleased) {
		t.Error(err)
	}
}

// A halfPipe is a pipe that knows the half-close of TCP and TLS.
type halfPipe struct {
	net.Conn
	halved chan struct{}
}

func (h *halfPipe) CloseWrite() error {
	close(h.halved)
	return nil
}

// The peer may read our last words before the connection goes, for a second.
func TestStreamLingers(t *testing.T) {
	for _, closes := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			x, y := net.Pipe()
			defer y.Close()
			h := &halfPipe{Conn: x, halved: make(chan struct{})}
			s, end := served(t, h, Config{})
			peer := newPlain(t, y)
			peer.write("00e1")
			go s.Close()
			if m := peer.next(); m.code != signalRelease {
				t.Error(m)
			}
			<-h.halved
			synctest.Wait()
			peer.write("0000") // a closed pipe would not take it
			start := time.Now()
			if closes {
				y.Close()
			}
			if err := <-end; err != nil {
				t.Error(err)
			}
			if took := time.Since(start); closes && took != 0 || took > lastTime {
				t.Error("took", took)
			}
		})
	}
}

func TestStreamServeAfterClose(t *testing.T) {
	x, _ := tcpPair(t)
	s := NewStream(x, Config{Log: quiet})
	s.Close()
	if err := s.Serve(); err != nil {
		t.Error(err)
	}
}

// The peer's Max-Message-Size binds what we send.
func TestStreamHeedsMaxMessageSize(t *testing.T) {
	x, y := tcpPair(t)
	a, _ := served(t, x, Config{Handler: func(context.Context, *Request) *Response {
		r := NewResponse(Content)
		r.Body = bytes.Repeat([]byte("x"), 500)
		return r
	}})
	peer := newPlain(t, y)
	peer.write("30e1 220100" + "01e207") // 256 bytes
	peer.next()
	r := NewRequest(PUT, "x")
	r.Body = make([]byte, 300)
	if _, err := a.Do(t.Context(), r); !errors.Is(err, latchkey.ErrTooLarge) {
		t.Error("request:", err)
	}
	peer.write("01015a")
	if m := peer.next(); m.code != InternalServerError || string(m.token.bytes()) != "Z" {
		t.Error("response:", m)
	}
}

// A peer that does not read costs time and memory within bounds.
func TestStreamStuckPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		defer y.Close()
		a, end := served(t, x, Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Do(ctx, NewRequest(GET)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error("request:", err)
		}
		start := time.Now()
		if err := <-end; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) > writeTime {
			t.Error(time.Since(start), err)
		}
	})
}

func TestStreamOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		defer y.Close()
		a, end := served(t, x, Config{})
		m := wire(t, non(1, "t", POST).with(strings.Repeat("x", 1000)))
		var err error
		for n := 0; err == nil; n += len(m) {
			if n > 3*maxQueued {
				t.Fatal("the queue has no end")
			}
			err = a.Send(m)
		}
		if err := <-end; !errors.Is(err, latchkey.ErrTooMany) {
			t.Error(err)
		}
	})
}

// A peer that asks without listening is not read any more, and gets its answers
// when it listens.
func TestStreamRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		defer y.Close()
		served(t, x, Config{})
		const asked = 2 * maxQueued / 10 // a pong has 10 bytes
		go func() {
			_, _ = y.Write([]byte{0x00, byte(signalCSM)})
			pings := bytes.Repeat([]byte{0x08, byte(signalPing), 1, 2, 3, 4, 5, 6, 7, 8}, asked)
			_, _ = y.Write(pings)
		}()
		synctest.Wait() // until neither side can do more
		peer := newPlain(t, y)
		for i := range asked {
			if m := peer.next(); m.code != signalPong {
				t.Fatal(i, m)
			}
		}
	})
}

func TestStreamNoHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, y) }()
		_, end := served(t, x, Config{})
		if err := <-end; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestFrameLengths(t *testing.T) {
	for _, n := range []int{0, 1, 12, 13, 14, 268, 269, 270, 1000, maxDatagram - headerSize - 3} {
		d := append([]byte{0x53, 0x45, 0, 9, 'a', 'b', 'c'}, bytes.Repeat([]byte{7}, n)...)
		f := appendFrame(nil, d)
		if len(f) != frameSize(d) {
			t.Errorf("%d: frameSize says %d, not %d", n, frameSize(d), len(f))
		}
		r := frameReader{from: bufio.NewReader(bytes.NewReader(f))}
		if got, err := r.next(9); err != nil || !bytes.Equal(got, d) {
			t.Errorf("%d: %.20x %v", n, got, err)
		}
		if _, err := r.next(0); err != io.EOF {
			t.Errorf("%d: end is %v", n, err)
		}
	}
	long := []byte{0xf0, 0xff, 0xfe, 0xfe, 0xf3, 0x45} // 2^32 when taken together
	r := frameReader{from: bufio.NewReader(bytes.NewReader(long))}
	if _, err := r.next(0); !errors.Is(err, latchkey.ErrTooLarge) {
		t.Error(err)
	}
}

// FuzzFrame reads what a peer may send; what comes out is framed the same way
// again, and nothing larger than a datagram is kept.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{0x00, 0xe1})
	f.Add([]byte{0xd1, 0x00, 0x01, 'Z', 0xb1, 'a', 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	f.Add([]byte{0xf0, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := frameReader{from: bufio.NewReader(bytes.NewReader(b))}
		for {
			d, err := r.next(1)
			if cap(r.b) > 2*maxDatagram {
				t.Fatalf("%d bytes kept", cap(r.b))
			}
			if err != nil {
				return
			}
			again := frameReader{from: bufio.NewReader(bytes.NewReader(appendFrame(nil, d)))}
			if e, err := again.next(1); err != nil || !bytes.Equal(d, e) {
				t.Fatalf("%x became %x: %v", d, e, err)
			}
		}
	})
}
