package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/stream"
)

// Tunnel opens a stream to a service of type tcp or unix. The connection has
// CloseWrite, for a half-close, and Reset. A refusal is a *latchkey.RemoteError
// that says why: the device does not allow it, or has no such service, or the
// target behind the service refused or cannot be reached.
func (c *Conn) Tunnel(ctx context.Context, service string) (net.Conn, error) {
	l, err := c.linkForTunnel(ctx)
	if err != nil {
		return nil, err
	}
	leave := c.enter(l)
	s, err := l.session.Streams().Open(ctx, service)
	if err != nil {
		leave()
		return nil, c.noTunnel(service, l.explain(err))
	}
	return &streamConn{s, leave}, nil
}

// TunnelUDP opens a flow of datagrams to a service of type udp: each Write is
// one datagram, each Read returns one. Datagrams may be lost.
func (c *Conn) TunnelUDP(ctx context.Context, service string) (net.Conn, error) {
	l, err := c.linkForTunnel(ctx)
	if err != nil {
		return nil, err
	}
	leave := c.enter(l)
	f, err := l.session.Streams().OpenDatagram(ctx, service)
	if err != nil {
		leave()
		return nil, c.noTunnel(service, l.explain(err))
	}
	return &flowConn{f, leave}, nil
}

// noTunnel says what failed, and by whose word.
func (c *Conn) noTunnel(service string, err error) error {
	op := "open tunnel " + service
	var refused *latchkey.RemoteError
	if ended := (*endedError)(nil); !errors.As(err, &ended) && errors.As(err, &refused) {
		return &latchkey.RemoteError{Op: op, Peer: c.device.Key, Code: refused.Code}
	}
	return fmt.Errorf("%s: %w", op, err)
}

// enter counts a tunnel on l, so that an older session ends with its last one.
func (c *Conn) enter(l *link) (leave func()) {
	l.tunnels.Add(1)
	return sync.OnceFunc(func() {
		l.tunnels.Add(-1)
		c.retire()
	})
}

type streamConn struct {
	*stream.Stream
	leave func()
}

// Close implements net.Conn.
func (s *streamConn) Close() error {
	defer s.leave()
	return s.Stream.Close()
}

type flowConn struct {
	*stream.Flow
	leave func()
}

// Close implements net.Conn.
func (f *flowConn) Close() error {
	defer f.leave()
	return f.Flow.Close()
}
