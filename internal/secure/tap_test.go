package secure

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

// A tap sees each datagram between two ends and returns what arrives instead.
type tap struct {
	mu       sync.Mutex
	toServer func(b []byte) [][]byte // nil passes everything
	toClient func(b []byte) [][]byte
}

func (t *tap) set(toServer, toClient func([]byte) [][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.toServer, t.toClient = toServer, toClient
}

func (t *tap) pass(b []byte, server bool) [][]byte {
	t.mu.Lock()
	f := t.toClient
	if server {
		f = t.toServer
	}
	t.mu.Unlock()
	if f == nil {
		return [][]byte{b}
	}
	return f(b)
}

// A duo is a client's and a server's handshake with a tap between them.
type duo struct {
	tap
	client, server *Handshake
	clientMeta     packet.Meta // of what the client gets
	serverMeta     packet.Meta
}

func newDuo(client, server Config) *duo {
	d := &duo{}
	d.client = NewClient(client, func(b []byte) error {
		for _, b := range d.pass(b, true) {
			d.server.Deliver(b, d.serverMeta)
		}
		return nil
	})
	d.server = NewServer(server, func(b []byte) error {
		for _, b := range d.pass(b, false) {
			d.client.Deliver(b, d.clientMeta)
		}
		return nil
	})
	return d
}

// run performs the handshake on both sides.
func (d *duo) run(ctx context.Context) (c, s *Conn, clientErr, serverErr error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s, serverErr = d.server.Run(ctx)
	}()
	c, clientErr = d.client.Run(ctx)
	<-done
	return c, s, clientErr, serverErr
}

// sessions performs the handshake and serves both ends.
func (d *duo) sessions(t testing.TB) (c, s *session) {
	t.Helper()
	a, b, clientErr, serverErr := d.run(t.Context())
	if clientErr != nil || serverErr != nil {
		t.Fatalf("client: %v; server: %v", clientErr, serverErr)
	}
	return serve(t, a), serve(t, b)
}

// forge makes a record that no key vouches for.
func forge(kind byte, epoch uint16, sequence uint64, body []byte) []byte {
	b := []byte{kind, 254, 253}
	b = binary.BigEndian.AppendUint64(b, uint64(epoch)<<48|sequence)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

// records splits a datagram.
func records(b []byte) (rs []record) {
	for {
		r, rest, ok := nextRecord(b)
		if !ok {
			return rs
		}
		rs, b = append(rs, r), rest
	}
}
