package stream

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

func TestLegKeepsOrder(t *testing.T) {
	l := newLeg(nil)
	buf := make([]byte, maxPacket)
	next := byte(0)
	for i := range 200 { // more waits each time
		for j := range 7 {
			l.deliver([]byte{byte(i*7 + j)})
		}
		for range 5 + i%3 {
			n, err := l.Read(buf)
			if n != 1 || err != nil || buf[0] != next {
				t.Fatalf("read %d bytes %d, want %d, %v", n, buf[0], next, err)
			}
			next++
		}
	}
	if len(l.queue) > 2000 {
		t.Errorf("%d places for %d packets", len(l.queue), len(l.queue)-l.head)
	}
}

func TestLegIsBounded(t *testing.T) {
	l := newLeg(nil)
	for range 20_000 {
		l.deliver(make([]byte, mtu))
	}
	if n := len(l.queue); n > legBytes/mtu || n < 4000 {
		t.Errorf("%d packets wait", n)
	}
	l.deliver(make([]byte, maxPacket+1))
	buf := make([]byte, maxPacket)
	for l.bytes > 0 {
		if n, err := l.Read(buf); n != mtu || err != nil {
			t.Fatal(n, err)
		}
	}
	if _ = l.Close(); l.bytes != 0 {
		t.Error("packets after Close")
	}
	l.deliver([]byte("x"))
	if len(l.queue) != 0 {
		t.Error("a closed leg takes packets")
	}
}

func TestLegUnblocks(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(l *leg)
		want error
	}{
		"close":    {func(l *leg) { _ = l.Close() }, net.ErrClosed},
		"deadline": {func(l *leg) { _ = l.SetReadDeadline(time.Now()) }, os.ErrDeadlineExceeded},
	} {
		l := newLeg(nil)
		read := make(chan error)
		go func() {
			_, err := l.Read(make([]byte, 1))
			read <- err
		}()
		c.do(l)
		if err := <-read; !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Only the end of the session is an error, because the association would end.
func TestLegWrite(t *testing.T) {
	var result error
	var sent []byte
	l := newLeg(func(b []byte) error {
		sent = bytes.Clone(b)
		return result
	})
	for _, result = range []error{nil, errors.New("no route"), os.ErrDeadlineExceeded} {
		if n, err := l.Write([]byte("packet")); n != 6 || err != nil || string(sent) != "packet" {
			t.Errorf("%v: %d %v", result, n, err)
		}
	}
	result = net.ErrClosed
	if _, err := l.Write([]byte("packet")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("session over: %v", err)
	}
	result = nil
	_ = l.Close()
	if _, err := l.Write([]byte("packet")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
