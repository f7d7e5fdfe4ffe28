package secure

import (
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

// TestEarlyPayload has a client that finishes while the server is still sending
// its Finished, and that uses its session at once: nothing may be lost.
func TestEarlyPayload(t *testing.T) {
	const burst = 32
	var c, s *Handshake
	finished := make(chan struct{}) // the server's Finished is with the client
	sent := make(chan struct{})     // the client's first datagrams are with the server
	once := false
	c = NewClient(anyone(t), func(b []byte) error { s.Deliver(b, packet.Meta{}); return nil })
	s = NewServer(anyone(t), func(b []byte) error {
		c.Deliver(b, packet.Meta{})
		for rest := b; ; {
			var r record
			var ok bool
			if r, rest, ok = nextRecord(rest); !ok {
				return nil
			}
			if r.kind == typeHandshake && r.epoch == 1 && !once {
				once = true
				close(finished)
				select {
				case <-sent:
				case <-time.After(patience):
					t.Error("the client sent nothing")
				}
			}
		}
	})
	conns := make(chan *Conn, 1)
	go func() {
		conn, err := s.Run(t.Context())
		if err != nil {
			t.Error(err)
		}
		conns <- conn
	}()
	conn, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := serve(t, conn)
	<-finished
	for i := range burst {
		if _, err := client.Write(fmt.Appendf(nil, "early %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	close(sent)
	server := serve(t, <-conns)
	for i := range burst {
		select {
		case got := <-server.got:
			if want := fmt.Sprintf("early %d", i); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("datagram %d of %d is lost", i, burst)
		}
	}
}
