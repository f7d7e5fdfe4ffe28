package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey/internal/stream"
)

func listenUDP(t testing.TB) *net.UDPConn {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	return pc
}

func dialUDP(t testing.TB, addr net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ask sends a datagram until its answer comes, since datagrams may be lost.
func ask(t testing.TB, c net.Conn, question string) string {
	t.Helper()
	buf := make([]byte, 2000)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := c.Write([]byte(question)); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		if n, err := c.Read(buf); err == nil {
			return string(buf[:n])
		}
	}
	t.Fatal("no answer")
	return ""
}

// serveUDP runs ServeUDP until the test ends and returns where it listens.
func serveUDP(t testing.TB, idle time.Duration, open func(context.Context) (net.Conn, error)) net.Addr {
	t.Helper()
	pc := listenUDP(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ServeUDP(ctx, pc, open, idle) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("ServeUDP: %v", err)
		}
	})
	return pc.LocalAddr()
}

// Datagrams cross a session: each source has its own flow and gets its own answers.
func TestUDPEndToEnd(t *testing.T) {
	target := listenUDP(t)
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := target.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = target.WriteTo([]byte(fmt.Sprintf("%s from %s", buf[:n], from)), from)
		}
	}()
	leads := parse(t, "udp://"+target.LocalAddr().String())
	mux := muxPair(t, func(in *stream.Incoming) {
		conn, err := leads.Dial(in.Context())
		if err != nil {
			t.Error(err)
			return
		}
		f, err := in.AcceptDatagram()
		if err != nil {
			t.Error(err)
			return
		}
		_ = Splice(in.Context(), f, conn, nil)
	})
	addr := serveUDP(t, 0, func(ctx context.Context) (net.Conn, error) { return mux.OpenDatagram(ctx, "dns") })
	answers := make(map[string]bool)
	for range 3 {
		answers[ask(t, dialUDP(t, addr), "x")] = true
	}
	if len(answers) != 3 {
		t.Errorf("the sources share a flow: %v", answers)
	}
}

// An idle flow ends, and the next datagram opens another.
func TestUDPIdleEnds(t *testing.T) {
	flows := make(chan net.Conn, 10)
	addr := serveUDP(t, 20*time.Millisecond, func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		flows <- far
		return near, nil
	})
	c := dialUDP(t, addr)
	for range 2 {
		far := provoke(t, c, flows)
		if b, err := io.ReadAll(far); err != nil || !bytes.HasPrefix(b, []byte("x")) {
			t.Errorf("flow carried %q, %v", b, err)
		}
	}
}

// provoke sends datagrams until one opened a flow.
func provoke(t testing.TB, c net.Conn, flows chan net.Conn) net.Conn {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		select {
		case far := <-flows:
			return far
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatal("no flow was opened")
	return nil
}

func TestUDPOpenFails(t *testing.T) {
	opens := make(chan struct{}, 10)
	addr := serveUDP(t, 0, func(context.Context) (net.Conn, error) {
		opens <- struct{}{}
		return nil, errors.New("refused")
	})
	c := dialUDP(t, addr)
	for range 20 {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	<-opens
	if len(opens) > 1 {
		t.Error("every datagram tried to open a flow")
	}
}

func TestUDPSourcesAreBounded(t *testing.T) {
	opened, closed := make(chan struct{}, 2*maxSources), make(chan struct{}, 2*maxSources)
	addr := serveUDP(t, 0, func(ctx context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		context.AfterFunc(ctx, func() { closed <- struct{}{} })
		opened <- struct{}{}
		return near, nil
	})
	for i := range maxSources + 1 {
		c := dialUDP(t, addr)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		<-opened
		if i < maxSources && len(closed) > 0 {
			t.Fatalf("source %d ended another", i)
		}
	}
	<-closed // the oldest
}

func TestDatagramSpliceIdle(t *testing.T) {
	a, b := listenUDP(t), listenUDP(t)
	near, far := dialUDP(t, a.LocalAddr()), dialUDP(t, b.LocalAddr())
	if err := spliceDatagrams(t.Context(), near, far, 10*time.Millisecond, nil); err != nil {
		t.Errorf("idle: %v", err)
	}
	if _, err := near.Write(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a side is open: %v", err)
	}
}
