package tunnel

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-dev/latchkey/internal/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits that only a failure makes long.
const patience = 60 * time.Second

func random(seed byte, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{seed})
	_, _ = r.Read(b)
	return b
}

// tcpPair returns both ends of a TCP connection over loopback.
func tcpPair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	near, far = dialed.(*net.TCPConn), accepted.(*net.TCPConn)
	for _, c := range []net.Conn{near, far} {
		_ = c.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { _ = c.Close() })
	}
	return near, far
}

// muxPair returns a client and a device that share a lossless path.
func muxPair(t testing.TB, accept func(*stream.Incoming)) (client *stream.Mux) {
	t.Helper()
	var device *stream.Mux
	quiet := slog.New(slog.DiscardHandler)
	client = stream.New(stream.Config{Client: true, Log: quiet, Send: func(b []byte) error {
		device.Deliver(b)
		return nil
	}})
	device = stream.New(stream.Config{Accept: accept, Log: quiet, Send: func(b []byte) error {
		client.Deliver(b)
		return nil
	}})
	t.Cleanup(func() {
		client.Close(nil)
		device.Close(nil)
	})
	return client
}

// A crossing is a tunnel from a local TCP connection to a target: local and
// target are its outer ends, and done has what both splices returned.
type crossing struct {
	local, target *net.TCPConn
	cancel        context.CancelCauseFunc
	progress      Progress
	client        chan error
	device        chan error
}

// newCrossing splices on both sides of a session.
func newCrossing(t testing.TB) *crossing {
	t.Helper()
	x := &crossing{client: make(chan error, 1), device: make(chan error, 1)}
	nearTarget, target := tcpPair(t)
	local, nearLocal := tcpPair(t)
	x.local, x.target = local, target
	ctx, cancel := context.WithCancelCause(t.Context())
	x.cancel = cancel
	mux := muxPair(t, func(in *stream.Incoming) {
		s, err := in.Accept()
		if err == nil {
			err = Splice(in.Context(), s, nearTarget, nil)
		}
		x.device <- err
	})
	open, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	s, err := mux.Open(open, "web")
	if err != nil {
		t.Fatal(err)
	}
	go func() { x.client <- Splice(ctx, nearLocal, s, &x.progress) }()
	return x
}

// wait returns what an end of the tunnel returned.
func wait(t testing.TB, done chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("the splice never ended")
		return nil
	}
}

// readAll reads to the end and fails the test on an error.
func readAll(t testing.TB, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return b
}
