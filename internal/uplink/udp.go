package uplink

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/session"
)

// udp connects to one address with DTLS on the shared socket.
func (d *dialer) udp(ctx context.Context, to netip.AddrPort) (*Uplink, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	h := secure.NewClient(secure.Config{
		Identity: d.cfg.Identity,
		Verify:   func(p secure.Peer) error { return d.pinned(to.String(), p.Key) },
		Log:      d.cfg.Log,
	}, func(b []byte) error {
		err := d.cfg.Socket.Send(b, to, netip.Addr{})
		if err != nil && unreachable(err) {
			cancel(err) // other errors are loss; after the handshake all are
		}
		return err
	})
	unregister := d.cfg.Socket.Register(to, func(b []byte, m packet.Meta) { h.Deliver(b, m) })
	conn, err := h.Run(ctx)
	if err != nil {
		unregister()
		return nil, err
	}
	s := session.New(conn, session.Config{
		Client: true, Handler: d.cfg.Handler, MaxBody: d.cfg.MaxBody, Silence: lostAfter, Log: d.cfg.Log,
	})
	u := newUplink(OverUDP, to)
	u.coap, u.stop = s.CoAP(), func() { s.Close(nil) }
	u.relay = func(ctx context.Context) (net.PacketConn, net.Addr, error) { return d.relayUDP(ctx, to) }
	var set session.Set
	set.Add(s)
	u.group.Go(func() { set.Run(u.ctx) })
	u.group.Go(func() {
		err := s.Serve()
		unregister()
		u.end(ending(err))
	})
	return u, nil
}

// relayUDP opens a socket of its own: on the shared one the relay could not
// tell our messages to it from those of other routes.
func (d *dialer) relayUDP(ctx context.Context, to netip.AddrPort) (net.PacketConn, net.Addr, error) {
	network := "udp4"
	if to.Addr().Is6() {
		network = "udp6"
	}
	conn, err := d.cfg.ListenPacket(ctx, network)
	if err != nil {
		return nil, nil, fmt.Errorf("uplink: socket for the relay: %w", err)
	}
	return conn, net.UDPAddrFromAddrPort(to), nil
}
