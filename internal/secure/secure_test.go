package secure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-dev/latchkey"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for; no test passes by waiting.
const patience = 30 * time.Second

var quiet = slog.New(slog.DiscardHandler)

func newIdentity(t testing.TB) *latchkey.Identity {
	t.Helper()
	id, err := latchkey.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// anyone returns a Config that accepts every key.
func anyone(t testing.TB) Config {
	return Config{Identity: newIdentity(t), Verify: func(Peer) error { return nil }, Log: quiet, Timeout: patience}
}

// A session is one end of an established pair, with what it received.
type session struct {
	*Conn
	got  chan string
	done chan error
}

func serve(t testing.TB, c *Conn) *session {
	s := &session{Conn: c, got: make(chan string, 100), done: make(chan error, 1)}
	go func() { s.done <- c.Serve(func(b []byte) { s.got <- string(b) }) }()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		select {
		case <-s.done:
		case <-time.After(patience):
			t.Error("Serve did not return after Close")
		}
	})
	return s
}

// pair returns both ends of an established session.
func pair(t testing.TB, client, server Config) (c, s *session) {
	t.Helper()
	a, b, err := Pipe(t.Context(), client, server)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, a), serve(t, b)
}

// talk sends a text and waits until it arrives.
func talk(t testing.TB, from, to *session, text string) error {
	t.Helper()
	if _, err := from.Write([]byte(text)); err != nil {
		return err
	}
	select {
	case got := <-to.got:
		if got != text {
			return fmt.Errorf("got %q, want %q", got, text)
		}
		return nil
	case err := <-to.done:
		to.done <- err
		return fmt.Errorf("session ended: %w", err)
	case <-time.After(patience):
		return context.DeadlineExceeded
	}
}

func mustTalk(t testing.TB, a, b *session) {
	t.Helper()
	if err := errors.Join(talk(t, a, b, "ping"), talk(t, b, a, "pong")); err != nil {
		t.Fatal(err)
	}
}

// ends waits for the end of a session.
func ends(t testing.TB, s *session) error {
	t.Helper()
	select {
	case err := <-s.done:
		s.done <- err
		return err
	case <-time.After(patience):
		t.Fatal("the session did not end")
		return nil
	}
}

func TestPair(t *testing.T) {
	client, server := anyone(t), anyone(t)
	c, s := pair(t, client, server)
	if c.Peer().Key != server.Identity.Fingerprint() || s.Peer().Key != client.Identity.Fingerprint() {
		t.Error("the keys are not those of the peers")
	}
	if c.Peer().ALPN != Protocol || s.Peer().ALPN != Protocol {
		t.Errorf("protocols %q and %q", c.Peer().ALPN, s.Peer().ALPN)
	}
	mustTalk(t, c, s)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ends(t, s); err != io.EOF {
		t.Errorf("the peer's goodbye ended Serve with %v", err)
	}
	if err := ends(t, c); err != nil {
		t.Errorf("our own Close ended Serve with %v", err)
	}
}
