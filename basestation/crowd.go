package basestation

import (
	"net"
	"net/netip"
	"sync"
)

// A crowd is the open TCP connections, bounded in all and for each prefix of
// sources.
type crowd struct {
	limits func() Limits

	mu       sync.Mutex
	closed   bool
	conns    map[net.Conn]netip.Prefix
	prefixes map[netip.Prefix]int
}

func newCrowd(limits func() Limits) *crowd {
	return &crowd{limits: limits, conns: make(map[net.Conn]netip.Prefix), prefixes: make(map[netip.Prefix]int)}
}

// enter takes a connection in, if there is room.
func (c *crowd) enter(conn net.Conn) bool {
	prefix, limits := prefixOf(sourceOf(conn).Addr()), c.limits()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.conns) >= limits.Streams || c.prefixes[prefix] >= limits.StreamsPerSource {
		return false
	}
	c.conns[conn] = prefix
	c.prefixes[prefix]++
	return true
}

// leave closes a connection and forgets it.
func (c *crowd) leave(conn net.Conn) {
	_ = conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if prefix, here := c.conns[conn]; here {
		delete(c.conns, conn)
		decrease(c.prefixes, prefix)
	}
}

// close closes all connections and lets none in any more.
func (c *crowd) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for conn := range c.conns {
		_ = conn.Close()
	}
}

func (c *crowd) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns)
}

func sourceOf(c net.Conn) netip.AddrPort {
	a, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	source := a.AddrPort()
	return netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
}
