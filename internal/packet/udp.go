package packet

import (
	"context"
	"errors"
	"net/netip"
	"sync"
)

// udp is a Conn made of at most one socket of each family.
type udp struct {
	sockets []*socket
}

// Serve implements Conn, with a goroutine for each socket.
func (c *udp) Serve(ctx context.Context, h func([]byte, Meta)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(c.sockets))
	var readers sync.WaitGroup
	for i, s := range c.sockets {
		readers.Go(func() { // ends with ctx or the socket
			errs[i] = s.serve(ctx, h)
			cancel()
		})
	}
	readers.Wait()
	return errors.Join(errs...)
}

// Send implements Conn.
func (c *udp) Send(b []byte, to netip.AddrPort, from netip.Addr) error {
	for _, s := range c.sockets {
		if s.local.Addr().Is4() == to.Addr().Unmap().Is4() {
			return s.send(b, to, from)
		}
	}
	return errFamily
}

// LocalAddrs implements Conn.
func (c *udp) LocalAddrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(c.sockets))
	for i, s := range c.sockets {
		addrs[i] = s.local
	}
	return addrs
}

// Close implements Conn.
func (c *udp) Close() error {
	var errs []error
	for _, s := range c.sockets {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}
