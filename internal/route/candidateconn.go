package route

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/ice/v4"
)

// queueSize is how many checks wait for the agent at one address; more are
// lost, and the peer repeats them.
const queueSize = 32

// A candidateConn is one of our addresses as the ICE agent of one route sees
// it. It carries STUN only.
type candidateConn struct {
	route *Route
	local netip.AddrPort
	in    chan inbound

	once   sync.Once
	closed chan struct{}
}

type inbound struct {
	b   []byte
	src netip.AddrPort
}

var (
	_ net.PacketConn           = (*candidateConn)(nil)
	_ ice.AddrPortReaderWriter = (*candidateConn)(nil)
)

func newCandidateConn(r *Route, local netip.AddrPort) *candidateConn {
	return &candidateConn{route: r, local: local, in: make(chan inbound, queueSize), closed: make(chan struct{})}
}

// push queues a copy of b for the agent.
func (c *candidateConn) push(b []byte, src netip.AddrPort) {
	select {
	case c.in <- inbound{bytes.Clone(b), src}:
	default: // the peer repeats it
	}
}

// ReadFromAddrPort implements ice.AddrPortReaderWriter.
func (c *candidateConn) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case <-c.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	case d := <-c.in:
		return copy(b, d.b), d.src, nil
	}
}

// WriteToAddrPort implements ice.AddrPortReaderWriter.
func (c *candidateConn) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	return len(b), c.route.sendCheck(c, b, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
}

// ReadFrom implements net.PacketConn.
func (c *candidateConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, src, err := c.ReadFromAddrPort(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(src), nil
}

// WriteTo implements net.PacketConn.
func (c *candidateConn) WriteTo(b []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError(to.String())
	}
	return c.WriteToAddrPort(b, u.AddrPort())
}

// LocalAddr implements net.PacketConn.
func (c *candidateConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

// Close implements net.PacketConn.
func (c *candidateConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// SetDeadline implements net.PacketConn. Close ends a read; a write never
// waits.
func (*candidateConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.PacketConn.
func (*candidateConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.PacketConn.
func (*candidateConn) SetWriteDeadline(time.Time) error { return nil }

// A mux is the Hub as the agent of one route sees it.
type mux struct{ route *Route }

var _ ice.UDPMux = mux{}

// GetListenAddresses implements ice.UDPMux.
func (m mux) GetListenAddresses() []net.Addr {
	var list []net.Addr
	for _, a := range m.route.hosts {
		list = append(list, net.UDPAddrFromAddrPort(a))
	}
	return list
}

// GetConn implements ice.UDPMux.
func (m mux) GetConn(_ string, addr net.Addr) (net.PacketConn, error) {
	u, ok := addr.(*net.UDPAddr)
	if !ok {
		return nil, net.InvalidAddrError(addr.String())
	}
	a := u.AddrPort()
	c := newCandidateConn(m.route, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	m.route.mu.Lock()
	defer m.route.mu.Unlock()
	m.route.conns = append(m.route.conns, c)
	return c, nil
}

// RemoveConnByUfrag implements ice.UDPMux. The agent has one name only.
func (m mux) RemoveConnByUfrag(string) {
	m.route.mu.Lock()
	defer m.route.mu.Unlock()
	for _, c := range m.route.conns {
		c.once.Do(func() { close(c.closed) })
	}
	m.route.conns = nil
}

// Close implements ice.UDPMux.
func (mux) Close() error { return nil }
