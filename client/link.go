package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/session"
)

// lanHops is the hop limit of what we send: a device takes a peer for local
// only if no router lowered it (RFC 5082).
const lanHops = 255

// A link is one session to a device and the socket below it.
type link struct {
	session *session.Session
	remote  netip.AddrPort
	tunnels atomic.Int64 // open through this link
	done    chan struct{}
}

// open dials one address and makes sure that the key is want. It returns after
// the handshake, or with *latchkey.IdentityError when another key answered.
func (c *Client) open(ctx context.Context, name string, want latchkey.Fingerprint, to netip.AddrPort) (*link, error) {
	identity, err := c.OpenIdentity()
	if err != nil {
		return nil, err
	}
	var proven atomic.Bool
	l, err := c.handshake(ctx, identity, to, func(p secure.Peer) error {
		if p.Key != want {
			return &latchkey.IdentityError{Device: name, Got: p.Key, Want: []latchkey.Fingerprint{want}}
		}
		proven.Store(true)
		return nil
	})
	if proven.Load() && errors.Is(err, latchkey.ErrHandshakeRefused) {
		err = &refusedError{err}
	}
	return l, err
}

// A refusedError is the word of the device itself, so no other address of it
// needs to be tried.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

func (c *Client) handshake(ctx context.Context, identity *latchkey.Identity, to netip.AddrPort, verify func(secure.Peer) error) (*link, error) {
	local := "0.0.0.0:0"
	if to.Addr().Is6() {
		local = "[::]:0"
	}
	sock, err := packet.Listen(local, packet.Config{HopLimit: lanHops})
	if err != nil {
		return nil, err
	}
	h := secure.NewClient(secure.Config{Identity: identity, Verify: verify, Log: c.logger()}, func(b []byte) error {
		return sock.Send(b, to, netip.Addr{})
	})
	reading := make(chan struct{})
	go func() { // ends when the socket is closed
		defer close(reading)
		_ = sock.Serve(context.Background(), func(b []byte, m packet.Meta) {
			if m.Src == to {
				h.Deliver(b, m)
			}
		})
	}()
	conn, err := h.Run(ctx)
	if err != nil {
		_ = sock.Close()
		<-reading
		return nil, err
	}
	l := &link{session: session.New(conn, session.Config{Client: true, Log: c.logger()}), remote: to, done: make(chan struct{})}
	remove := c.tend(l.session)
	go func() { // ends with the session
		defer close(l.done)
		err := l.session.Serve()
		remove()
		_ = sock.Close()
		<-reading
		c.logger().Debug("session down", "device", to, "err", err)
	}()
	return l, nil
}

// close ends the session and waits for everything below it.
func (l *link) close() {
	l.session.Close(nil)
	<-l.done
}

// cause says why the link ended; nil while it lives.
func (l *link) cause() error {
	err := context.Cause(l.session.Context())
	if err == nil || errors.Is(err, net.ErrClosed) {
		return err
	}
	return fmt.Errorf("session ended: %w", err)
}
