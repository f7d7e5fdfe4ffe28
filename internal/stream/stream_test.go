package stream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
)

func TestEcho(t *testing.T) {
	p := newPair(t, Config{}, accepting(echo), path{})
	s := open(t, p, "echo")
	want := random(1, 3<<20)
	var wg sync.WaitGroup
	wg.Go(func() { send(t, s, want) })
	if !bytes.Equal(receive(t, s), want) {
		t.Error("the echo differs")
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "both sides forget", func() bool { return channels(p.client)+channels(p.device) == 0 })
	if b := &p.client.pool.elastic; b.free != b.size {
		t.Errorf("credit is lost: %d of %d", b.free, b.size)
	}
}

// One direction ends and the other goes on, whoever ends first.
func TestHalfClose(t *testing.T) {
	for name, order := range map[string]func(client, device *Stream) (first, second *Stream){
		"client first": func(c, d *Stream) (*Stream, *Stream) { return c, d },
		"device first": func(c, d *Stream) (*Stream, *Stream) { return d, c },
	} {
		t.Run(name, func(t *testing.T) {
			client, device, p := both(t, path{})
			first, second := order(client, device)
			question, answer := random(1, 300_000), random(2, 500_000)
			go send(t, first, question)
			if !bytes.Equal(receive(t, second), question) {
				t.Error("the question differs")
			}
			if _, err := first.Write([]byte("more")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("write after CloseWrite: %v", err)
			}
			if err := first.CloseWrite(); err != nil {
				t.Errorf("second CloseWrite: %v", err)
			}
			go send(t, second, answer)
			if !bytes.Equal(receive(t, first), answer) {
				t.Error("the answer differs")
			}
			if n, err := first.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("read after the end: %d %v", n, err)
			}
			eventually(t, "both sides forget", func() bool { return channels(p.client)+channels(p.device) == 0 })
		})
	}
}

// A reset ends both directions at once, with payload under way in both, and
// tells the other side why.
func TestReset(t *testing.T) {
	for name, order := range map[string]func(client, device *Stream) (from, to *Stream){
		"by the client": func(c, d *Stream) (*Stream, *Stream) { return c, d },
		"by the device": func(c, d *Stream) (*Stream, *Stream) { return d, c },
	} {
		t.Run(name, func(t *testing.T) {
			client, device, p := both(t, path{})
			from, to := order(client, device)
			ends := make(chan error, 4)
			for _, s := range []*Stream{from, to} {
				go func() {
					_, err := io.Copy(s, endless{})
					ends <- err
				}()
			}
			for _, s := range []*Stream{from, to} {
				if _, err := io.ReadFull(s, make([]byte, 1<<20)); err != nil {
					t.Fatal(err)
				}
			}
			from.Reset(latchkey.CodeTargetTimeout)
			for range 2 {
				err := <-ends
				if !errors.Is(err, net.ErrClosed) && !errors.Is(err, latchkey.ErrTargetTimeout) {
					t.Errorf("write: %v", err)
				}
			}
			if _, err := from.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("read of who reset: %v", err)
			}
			var remote *latchkey.RemoteError
			if _, err := to.Read(make([]byte, 1)); !errors.As(err, &remote) || !errors.Is(err, latchkey.ErrTargetTimeout) {
				t.Errorf("read of who was reset: %v", err)
			}
			if _, err := to.Write([]byte("x")); !errors.Is(err, latchkey.ErrTargetTimeout) {
				t.Errorf("write of who was reset: %v", err)
			}
			to.Reset(latchkey.CodeInternal)
			eventually(t, "both sides forget", func() bool { return channels(p.client)+channels(p.device) == 0 })
		})
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// Close with unread payload resets, as that of a TCP connection does; so does
// payload that arrives afterwards. Without either it is the end of a direction.
func TestClose(t *testing.T) {
	t.Run("orderly", func(t *testing.T) {
		client, device, p := both(t, path{})
		go func() { _, _ = client.Write([]byte("bye")); _ = client.Close() }()
		if got := receive(t, device); string(got) != "bye" {
			t.Errorf("got %q", got)
		}
		if err := device.Close(); err != nil {
			t.Error(err)
		}
		eventually(t, "both sides forget", func() bool { return channels(p.client)+channels(p.device) == 0 })
	})
	t.Run("unread", func(t *testing.T) {
		client, device, _ := both(t, path{})
		_, _ = client.Write([]byte("x"))
		eventually(t, "payload arrives", func() bool { return device.unread() > 0 })
		_ = device.Close()
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, latchkey.ErrReset) {
			t.Errorf("client read %v", err)
		}
	})
	t.Run("late payload", func(t *testing.T) {
		client, device, _ := both(t, path{})
		_ = device.Close()
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("client read %v", err)
		}
		_, _ = client.Write([]byte("x"))
		eventually(t, "the reset arrives", func() bool {
			_, err := client.Write([]byte("x"))
			return errors.Is(err, latchkey.ErrReset)
		})
	})
	t.Run("errors", func(t *testing.T) {
		client, _, _ := both(t, path{})
		for range 2 {
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read %v", err)
		}
		if _, err := client.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write %v", err)
		}
	})
}

func (s *Stream) unread() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.buf.size
}

func TestDeadlines(t *testing.T) {
	client, device, _ := both(t, path{})
	past, soon := time.Now().Add(-time.Second), 20*time.Millisecond
	buf := make([]byte, 4<<20)
	expired := func(what string, err error) {
		t.Helper()
		var timeout net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: %v", what, err)
		}
	}
	_ = client.SetDeadline(past)
	_, err := client.Read(buf)
	expired("read after the deadline", err)
	_, err = client.Write(buf)
	expired("write after the deadline", err)

	_ = client.SetReadDeadline(time.Now().Add(soon))
	_, err = client.Read(buf)
	expired("read until the deadline", err)
	_ = client.SetWriteDeadline(time.Now().Add(soon))
	n, err := client.Write(buf)
	expired("write until the deadline", err)
	if n == 0 || n == len(buf) {
		t.Errorf("wrote %d bytes to a peer that reads none", n)
	}

	waiting := make(chan error)
	_ = client.SetDeadline(time.Time{})
	go func() {
		_, err := client.Read(buf)
		waiting <- err
	}()
	_ = client.SetReadDeadline(past)
	expired("read that waited", <-waiting)

	_ = client.SetDeadline(time.Time{})
	if _, err := io.ReadFull(device, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	go send(t, client, []byte("x"))
	if got := receive(t, device); string(got) != "x" {
		t.Errorf("after the deadlines: %q", got)
	}
}

// Whoever does not read stops only its own sender, and holds no more than its
// credit.
func TestStalledReader(t *testing.T) {
	accepted := make(chan *Stream, 2)
	p := newPair(t, Config{}, accepting(func(s *Stream) { accepted <- s }), path{})
	stalled := open(t, p, "stalled")
	idle := <-accepted
	written := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(stalled, endless{})
		written <- n
	}()
	eventually(t, "the credit is used up", func() bool { return idle.unread() == startCredit })

	s := open(t, p, "busy")
	want := random(1, 20<<20)
	go send(t, s, want)
	if !bytes.Equal(receive(t, <-accepted), want) {
		t.Error("the other tunnel's bytes differ")
	}
	if n := idle.unread(); n != startCredit {
		t.Errorf("%d bytes are unread", n)
	}
	stalled.Reset(0)
	if n := <-written; n < startCredit || n > startCredit+(64<<10) {
		t.Errorf("the sender wrote %d bytes", n)
	}
}

// A tunnel arrives whole over a path that loses, doubles and swaps packets.
func TestBadPath(t *testing.T) {
	size := 2 << 20
	if testing.Short() {
		size = 128 << 10
	}
	client, device, _ := both(t, path{loss: 0.01, dup: 0.01, swap: 0.02})
	up, down := random(1, size), random(2, size)
	var wg sync.WaitGroup
	wg.Go(func() { send(t, client, up) })
	wg.Go(func() { send(t, device, down) })
	wg.Go(func() {
		if !bytes.Equal(receive(t, device), up) {
			t.Error("up differs")
		}
	})
	if !bytes.Equal(receive(t, client), down) {
		t.Error("down differs")
	}
	wg.Wait()
}

func TestParallel(t *testing.T) {
	size := 5 << 20
	if testing.Short() {
		size = 100 << 10
	}
	p := newPair(t, Config{}, accepting(echo), path{})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			s := open(t, p, fmt.Sprint(i))
			defer s.Close()
			want := random(uint64(i), size)
			wg.Go(func() { send(t, s, want) })
			h := sha256.New()
			n, err := io.Copy(h, s)
			sum := sha256.Sum256(want)
			if err != nil || n != int64(size) || !bytes.Equal(h.Sum(nil), sum[:]) {
				t.Errorf("stream %d: %d bytes, %v", i, n, err)
			}
		})
	}
	wg.Wait()
}

// Writers and readers of one stream may be many; each write stays whole.
func TestConcurrentWrites(t *testing.T) {
	client, device, _ := both(t, path{})
	const record = 40_000
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := client.Write(bytes.Repeat([]byte{byte(i)}, record)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() {
		wg.Wait()
		_ = client.CloseWrite()
	}()
	b := make([]byte, record)
	for n := range 160 {
		if _, err := io.ReadFull(device, b); err != nil {
			t.Fatalf("record %d: %v", n, err)
		}
		if !bytes.Equal(b, bytes.Repeat(b[:1], record)) {
			t.Fatalf("record %d is mixed", n)
		}
	}
	if _, err := device.Read(b); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestWriteTo(t *testing.T) {
	client, device, _ := both(t, path{})
	want := random(1, 1<<20)
	go send(t, client, want)
	var got bytes.Buffer
	if n, err := device.WriteTo(&got); n != int64(len(want)) || err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes, %v", n, err)
	}
	go send(t, device, want)
	failed := errors.New("disk full")
	if n, err := client.WriteTo(failing{failed}); n != 0 || err != failed {
		t.Errorf("%d bytes, %v", n, err)
	}
	if rest := receive(t, client); !bytes.Equal(rest, want) {
		t.Error("a failed write lost bytes")
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestAddr(t *testing.T) {
	client, device, _ := both(t, path{})
	for _, a := range []net.Addr{client.LocalAddr(), client.RemoteAddr(), device.LocalAddr(), device.RemoteAddr()} {
		if a.Network() != "tcp" || a.String() != "ssh" {
			t.Errorf("address %v %v", a.Network(), a)
		}
	}
}

func BenchmarkThroughput(b *testing.B) {
	client, device, _ := both(b, path{})
	b.SetBytes(64 << 10)
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		buf := make([]byte, 64<<10)
		for range b.N {
			_, _ = client.Write(buf)
		}
		_ = client.CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, device); err != nil || n != int64(b.N)<<16 {
		b.Fatal(n, err)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	p := newPair(b, Config{}, accepting(echo), path{})
	s := open(b, p, "echo")
	buf := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		_, err := s.Write(buf)
		if _, err2 := io.ReadFull(s, buf); errors.Join(err, err2) != nil {
			b.Fatal(err, err2)
		}
	}
	_ = s.CloseWrite()
}

func BenchmarkOpenClose(b *testing.B) {
	p := newPair(b, Config{}, accepting(echo), path{})
	b.ReportAllocs()
	for range b.N {
		s, err := p.client.Open(context.Background(), "echo")
		if err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
	}
}
