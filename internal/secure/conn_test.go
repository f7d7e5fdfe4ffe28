package secure

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/packet"
)

func TestWriteSizes(t *testing.T) {
	c, s := pair(t, anyone(t), anyone(t))
	for _, size := range []int{0, 1, 1200, MaxPayload} {
		text := string(bytes.Repeat([]byte{'x'}, size))
		if err := talk(t, c, s, text); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if err := talk(t, s, c, text); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if n, err := c.Write(make([]byte, MaxPayload+1)); !errors.Is(err, latchkey.ErrTooLarge) || n != 0 {
		t.Errorf("too large: %d, %v", n, err)
	}
	mustTalk(t, c, s)
}

func TestPathErrorsAreLoss(t *testing.T) {
	client, server := anyone(t), anyone(t)
	var s *Handshake
	var mu sync.Mutex
	var broken error
	c := NewClient(client, func(b []byte) error {
		mu.Lock()
		defer mu.Unlock()
		if broken == nil {
			s.Deliver(b, packet.Meta{})
		}
		return broken
	})
	s = NewServer(server, func(b []byte) error { c.Deliver(b, packet.Meta{}); return nil })
	d := &duo{client: c, server: s}
	a, b := d.sessions(t)
	for _, err := range []error{syscall.ECONNREFUSED, syscall.EMSGSIZE, errors.New("no path")} {
		mu.Lock()
		broken = err
		mu.Unlock()
		if n, err := a.Write([]byte("lost")); n != 4 || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
		mu.Lock()
		broken = nil
		mu.Unlock()
		mustTalk(t, a, b)
	}
}

func TestEnds(t *testing.T) {
	cause := errors.New("a cause")
	tests := []struct {
		name       string
		end        func(*session)
		ours, peer error // what Serve returns
	}{
		{"close", func(s *session) { _ = s.Close() }, nil, io.EOF},
		{"close twice", func(s *session) { _, _ = s.Close(), s.Close() }, nil, io.EOF},
		{"close, then abort", func(s *session) { _ = s.Close(); s.abort(cause) }, nil, io.EOF},
	}
	for _, tt := range tests {
		c, s := pair(t, anyone(t), anyone(t))
		tt.end(c)
		if err := ends(t, c); err != tt.ours {
			t.Errorf("%s: our Serve returned %v", tt.name, err)
		}
		if err := ends(t, s); err != tt.peer {
			t.Errorf("%s: the peer's Serve returned %v", tt.name, err)
		}
		for _, x := range []*session{c, s} {
			if _, err := x.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: Write after the end: %v", tt.name, err)
			}
			x.Deliver(forge(typeApplicationData, 1, 99, make([]byte, 40)), packet.Meta{}) // does nothing
		}
	}
}

// TestAbortSaysNothing ends one side without a word; the other lives on.
func TestAbortSaysNothing(t *testing.T) {
	cause := errors.New("a cause")
	client, server := anyone(t), anyone(t)
	synctest.Test(t, func(t *testing.T) {
		c, s := pair(t, client, server)
		c.abort(cause)
		if err := ends(t, c); err != cause {
			t.Errorf("Serve returned %v", err)
		}
		time.Sleep(time.Hour)
		if len(s.done) != 0 {
			t.Error("the peer heard of it")
		}
	})
}

// TestCloseWithoutServe ends a session that nobody reads from, with data
// under way.
func TestCloseWithoutServe(t *testing.T) {
	c, s, err := Pipe(t.Context(), anyone(t), anyone(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		_, _ = c.Write([]byte("unread"))
	}
	if err := errors.Join(s.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	if err := s.Serve(func([]byte) {}); err != nil {
		t.Errorf("Serve after Close: %v", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	c, s := pair(t, anyone(t), anyone(t))
	const writers, each = 8, 200
	var work sync.WaitGroup
	for range writers {
		work.Go(func() {
			for range each {
				if _, err := c.Write([]byte("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range writers * each {
		select {
		case <-s.got:
		case <-time.After(patience):
			t.Fatal("a datagram is missing")
		}
	}
	work.Wait()
	for range writers {
		work.Go(func() { _, _ = c.Write([]byte("x")) })
		work.Go(func() { _ = c.Close() })
	}
	work.Wait()
}

func TestLastHeard(t *testing.T) {
	client, server := anyone(t), anyone(t)
	synctest.Test(t, func(t *testing.T) {
		c, s := pair(t, client, server)
		made := time.Now()
		time.Sleep(time.Minute)
		s.Deliver(forge(typeApplicationData, 1, 99, make([]byte, 40)), packet.Meta{})
		synctest.Wait()
		if !s.LastHeard().Equal(made) {
			t.Errorf("last heard %v after the handshake, though nothing genuine came", s.LastHeard().Sub(made))
		}
		mustTalk(t, c, s)
		if !s.LastHeard().Equal(time.Now()) || !c.LastHeard().Equal(time.Now()) {
			t.Error("a genuine record was not heard")
		}
	})
}

func TestExport(t *testing.T) {
	c, s := pair(t, anyone(t), anyone(t))
	a, err := c.Export("EXPORTER-latchkey-test", 32)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Export("EXPORTER-latchkey-test", 32)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Export("EXPORTER-latchkey-other", 32)
	if err != nil {
		t.Fatal(err)
	}
	if len(a) != 32 || !bytes.Equal(a, b) || bytes.Equal(a, other) {
		t.Errorf("exported %x and %x, and for another label %x", a, b, other)
	}
	for _, n := range []int{-1, 0, maxRecord + 1} {
		if _, err := c.Export("EXPORTER-latchkey-test", n); err == nil {
			t.Errorf("exported %d bytes", n)
		}
	}
	if _, err := c.Export("master secret", 32); err == nil {
		t.Error("exported under a label of the handshake's own")
	}
}

// TestConnPrintsNoSecret looks for the fields of the library's state in what
// fmt makes of a Conn.
func TestConnPrintsNoSecret(t *testing.T) {
	c, s, err := Pipe(t.Context(), anyone(t), anyone(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = c.Close(), s.Close() }()
	for _, verb := range []string{"%+v", "%#v"} {
		if text := fmt.Sprintf(verb, c); strings.Contains(strings.ToLower(text), "secret") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

func TestPipeFails(t *testing.T) {
	client, server := anyone(t), anyone(t)
	reason := errors.New("no")
	server.Verify = func(Peer) error { return reason }
	if _, _, err := Pipe(t.Context(), client, server); !errors.Is(err, reason) || !errors.Is(err, latchkey.ErrHandshakeRefused) {
		t.Errorf("got %v", err)
	}
}
