package client

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/route"
)

// watchEvery is how often we look whether the machine's addresses have changed.
const watchEvery = 500 * time.Millisecond

// A network is the one UDP socket over which a client talks to basestations and
// has direct paths to devices.
type network struct {
	sock packet.Conn
	legs packet.Switch // datagrams of basestations
	hub  *route.Hub    // those of devices

	stop context.CancelFunc
	done chan struct{}
}

// openNetwork opens the socket. moved is called when the machine has other
// addresses than before, stray with each datagram that is for nobody else; nil
// drops these.
func openNetwork(log *slog.Logger, moved func(), stray func([]byte)) (*network, error) {
	sock, err := packet.Listen(":0", packet.Config{})
	if err != nil {
		return nil, err
	}
	n := &network{sock: sock, done: make(chan struct{})}
	n.hub = route.NewHub(route.HubConfig{Send: sock.Send, Addrs: n.addrs, Log: log})
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	go func() { // ends with close
		defer close(n.done)
		watching := make(chan struct{})
		go func() { // ends with ctx
			defer close(watching)
			watchAddrs(ctx, moved)
		}()
		_ = sock.Serve(ctx, func(b []byte, m packet.Meta) {
			if !n.legs.Deliver(b, m) && !n.hub.Deliver(b, m) && stray != nil {
				stray(b)
			}
		})
		<-watching
	}()
	return n, nil
}

func (n *network) close() {
	n.stop()
	_ = n.sock.Close()
	<-n.done
}

// Send implements uplink.Socket.
func (n *network) Send(b []byte, to netip.AddrPort, from netip.Addr) error {
	return n.sock.Send(b, to, from)
}

// Register implements uplink.Socket.
func (n *network) Register(source netip.AddrPort, h func([]byte, packet.Meta)) (unregister func()) {
	return n.legs.Register(source, h)
}

// addrs are the addresses of this machine, with the socket's ports.
func (n *network) addrs() []netip.AddrPort { return packet.Expand(n.sock.LocalAddrs(), true) }

// watchAddrs calls moved whenever the machine has got or lost an address.
func watchAddrs(ctx context.Context, moved func()) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for before := packet.SortedHostAddrs(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now := packet.SortedHostAddrs(); !slices.Equal(before, now) {
			before = now
			moved()
		}
	}
}
