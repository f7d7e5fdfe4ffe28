package secure

import (
	"context"
	"errors"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

// Pipe returns both ends of a session in memory, as net.Pipe does for a plain
// connection: what one end sends is delivered to the other at once.
func Pipe(ctx context.Context, client, server Config) (*Conn, *Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var c, s *Handshake
	c = NewClient(client, func(b []byte) error { s.Deliver(b, packet.Meta{}); return nil })
	s = NewServer(server, func(b []byte) error { c.Deliver(b, packet.Meta{}); return nil })
	type result struct {
		conn *Conn
		err  error
	}
	answered := make(chan result, 1)
	go func() { // ends with the handshake
		conn, err := s.Run(ctx)
		answered <- result{conn, err}
	}()
	conn, err := c.Run(ctx)
	if err != nil {
		cancel()
	}
	r := <-answered
	if err = errors.Join(err, r.err); err == nil {
		return conn, r.conn, nil
	}
	for _, end := range []*Conn{conn, r.conn} {
		if end != nil {
			_ = end.Close()
		}
	}
	return nil, nil, err
}
