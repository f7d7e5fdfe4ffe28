package e2e

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/secure"
)

// TestHandshakeGivenUp: a client gives a handshake with its basestation up, as a
// dial does that was faster by another way, and begins another from the same
// port. What the basestation repeats of the first does not spoil the second.
func TestHandshakeGivenUp(t *testing.T) {
	_, info := station(t)
	sock, err := packet.Listen("127.0.0.1:0", packet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	defer work.Wait()
	defer sock.Close()
	defer cancel()
	key := newIdentity(t)
	client := func() *secure.Handshake {
		return secure.NewClient(secure.Config{
			Identity: key, Verify: func(secure.Peer) error { return nil }, Log: testLog(t),
		}, func(b []byte) error { return sock.Send(b, info.Addrs[0], netip.Addr{}) })
	}
	var now atomic.Pointer[secure.Handshake]
	first, stop := context.WithCancel(t.Context())
	defer stop()
	now.Store(client())
	work.Go(func() {
		_ = sock.Serve(ctx, func(b []byte, m packet.Meta) {
			if first.Err() == nil && len(b) > 200 { // the basestation's certificate, which proves that it waits for more
				stop()
				return
			}
			now.Load().Deliver(b, m)
		})
	})
	if conn, err := now.Load().Run(first); err == nil {
		_ = conn.Close()
		t.Fatal("it was not given up")
	}
	now.Store(client())
	conn, err := now.Load().Run(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}
