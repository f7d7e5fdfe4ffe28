package netlab

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

// queueLength is how many datagrams wait at a host; more are lost.
const queueLength = 4096

// interfaceIndex is that of the one interface of every host.
const interfaceIndex = 1

// A Host is attached to a Network. It is a packet.Conn.
type Host struct {
	network  *Network
	nat      *NAT // nil: none
	addr     netip.AddrPort
	hopLimit int
	queue    chan Datagram
	once     sync.Once
	closed   chan struct{}
}

var _ packet.Conn = (*Host)(nil)

// Addr returns the address the host is attached under.
func (h *Host) Addr() netip.AddrPort { return h.addr }

// Serve implements packet.Conn.
func (h *Host) Serve(ctx context.Context, handler func([]byte, packet.Meta)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.closed:
			return nil
		case d := <-h.queue:
			handler(d.Payload, packet.Meta{
				Src:      d.From,
				Dst:      d.To.Addr(),
				IfIndex:  interfaceIndex,
				HopLimit: d.HopLimit,
				Loopback: d.To.Addr().IsLoopback(),
			})
		}
	}
}

// Send implements packet.Conn.
func (h *Host) Send(b []byte, to netip.AddrPort, from netip.Addr) error {
	select {
	case <-h.closed:
		return net.ErrClosed
	default:
	}
	if from.IsValid() && from != h.addr.Addr() {
		return errors.New("netlab: not an address of this host")
	}
	d := Datagram{From: h.addr, To: to, HopLimit: h.hopLimit, Payload: slices.Clone(b)}
	if h.nat == nil || h.network.inside(h.nat, to) || h.nat.out(h, &d) {
		h.network.send(d)
	}
	return nil
}

// LocalAddrs implements packet.Conn.
func (h *Host) LocalAddrs() []netip.AddrPort { return []netip.AddrPort{h.addr} }

// Close implements packet.Conn. The address is free again afterwards.
func (h *Host) Close() error {
	h.once.Do(func() {
		h.network.detach(h)
		close(h.closed)
	})
	return nil
}
