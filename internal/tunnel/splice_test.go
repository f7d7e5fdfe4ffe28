package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/stream"
)

func TestSpliceCarriesBothDirections(t *testing.T) {
	x := newCrossing(t)
	up, down := random(1, 3<<20), random(2, 5<<20)
	var wg sync.WaitGroup
	defer wg.Wait()
	send := func(c *net.TCPConn, b []byte) {
		_, err := c.Write(b)
		if err = errors.Join(err, c.CloseWrite()); err != nil {
			t.Errorf("send: %v", err)
		}
	}
	wg.Go(func() { send(x.local, up) })
	wg.Go(func() { send(x.target, down) })
	wg.Go(func() {
		if !bytes.Equal(readAll(t, x.target), up) {
			t.Error("what the target read differs")
		}
	})
	if !bytes.Equal(readAll(t, x.local), down) {
		t.Error("what the client read differs")
	}
	if err := errors.Join(wait(t, x.client), wait(t, x.device)); err != nil {
		t.Errorf("splice: %v", err)
	}
	if sent, got := x.progress.Sent.Load(), x.progress.Received.Load(); sent != int64(len(up)) || got != int64(len(down)) {
		t.Errorf("progress %d %d", sent, got)
	}
}

// One direction ends; the other goes on, and ends later.
func TestSpliceHalfClose(t *testing.T) {
	for name, ends := range map[string]func(x *crossing) (first, second *net.TCPConn){
		"client first": func(x *crossing) (*net.TCPConn, *net.TCPConn) { return x.local, x.target },
		"target first": func(x *crossing) (*net.TCPConn, *net.TCPConn) { return x.target, x.local },
	} {
		t.Run(name, func(t *testing.T) {
			x := newCrossing(t)
			first, second := ends(x)
			if _, err := first.Write([]byte("question")); err != nil {
				t.Fatal(err)
			}
			if err := first.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, second); string(got) != "question" {
				t.Fatalf("got %q", got)
			}
			if _, err := second.Write([]byte("answer")); err != nil {
				t.Fatalf("the other direction: %v", err)
			}
			if err := second.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, first); string(got) != "answer" {
				t.Fatalf("got %q", got)
			}
			if err := errors.Join(wait(t, x.client), wait(t, x.device)); err != nil {
				t.Errorf("splice: %v", err)
			}
		})
	}
}

// A TCP RST on one side is a TCP RST on the other, with data under way.
func TestSpliceReset(t *testing.T) {
	for name, ends := range map[string]func(x *crossing) (from, to *net.TCPConn){
		"by the client": func(x *crossing) (*net.TCPConn, *net.TCPConn) { return x.local, x.target },
		"by the target": func(x *crossing) (*net.TCPConn, *net.TCPConn) { return x.target, x.local },
	} {
		t.Run(name, func(t *testing.T) {
			x := newCrossing(t)
			from, to := ends(x)
			written := make(chan error, 1)
			go func() {
				_, err := to.Write(random(3, 8<<20))
				written <- err
			}()
			if _, err := io.ReadFull(from, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			_ = from.SetLinger(0)
			_ = from.Close()
			_, err := io.Copy(io.Discard, to)
			if err = errors.Join(err, <-written); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other side saw %v, want a reset", err)
			}
			if wait(t, x.client) == nil || wait(t, x.device) == nil {
				t.Error("a splice hid the reset")
			}
		})
	}
}

func TestSpliceContext(t *testing.T) {
	x := newCrossing(t)
	x.cancel(latchkey.ErrRevoked)
	if err := wait(t, x.client); !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("client: %v", err)
	}
	if err := wait(t, x.device); !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("device: %v, want the reason", err)
	}
	for _, c := range []net.Conn{x.local, x.target} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read %v, want a reset", err)
		}
	}
}

// A unix socket has no reset, so its end is closed.
func TestSpliceUnix(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	local, nearLocal := tcpPair(t)
	done := make(chan error, 1)
	go func() { done <- Splice(t.Context(), nearLocal, near, nil) }()
	if _, err := far.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := far.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, local); string(got) != "hello" {
		t.Errorf("got %q", got)
	}
	_ = local.SetLinger(0)
	_ = local.Close()
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("the unix side was not closed")
	}
	if err := wait(t, done); err == nil {
		t.Error("the splice hid the reset")
	}
}

// The reason of the stream's end reaches the caller.
func TestSpliceTellsReason(t *testing.T) {
	device := make(chan *stream.Stream, 1)
	mux := muxPair(t, func(in *stream.Incoming) {
		s, _ := in.Accept()
		device <- s
	})
	s, err := mux.Open(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	local, nearLocal := tcpPair(t)
	done := make(chan error, 1)
	go func() { done <- Splice(context.Background(), nearLocal, s, nil) }()
	(<-device).Reset(latchkey.CodeTargetTimeout)
	if err := wait(t, done); !errors.Is(err, latchkey.ErrTargetTimeout) {
		t.Errorf("got %v", err)
	}
	if _, err := local.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("local read %v", err)
	}
}

func TestResetCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want latchkey.Code
	}{
		{syscall.ECONNRESET, latchkey.CodeReset},
		{io.ErrClosedPipe, latchkey.CodeReset},
		{latchkey.ErrRevoked, latchkey.CodeRevoked},
		{latchkey.ErrInternal, latchkey.CodeInternal},
		{&latchkey.RemoteError{Code: latchkey.CodeTargetRefused}, latchkey.CodeTargetRefused},
		{context.Canceled, latchkey.CodeShutdown},
	} {
		if got := resetCode(c.err); got != c.want {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
	}
}
