package basestation

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"
)

// strangerStreams is the part of Limits.Streams that is for connections of which
// nobody knows yet what they are for: one in so many.
const strangerStreams = 4

// A crowd is the open TCP connections, bounded in all. Those that are not trusted
// yet are bounded for each prefix of sources too, and of those in all the oldest
// makes room.
type crowd struct {
	limits func() Limits

	mu        sync.Mutex
	closed    bool
	conns     map[net.Conn]*list.Element // of strangers; nil: the connection is trusted
	strangers list.List                  // of net.Conn, oldest first
	perPrefix map[netip.Prefix]int       // of strangers
}

func newCrowd(limits func() Limits) *crowd {
	return &crowd{limits: limits, conns: make(map[net.Conn]*list.Element), perPrefix: make(map[netip.Prefix]int)}
}

// enter takes a connection in, if there is room.
func (c *crowd) enter(conn net.Conn) bool {
	prefix, limits := prefixOf(sourceOf(conn).Addr()), c.limits()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.conns) >= limits.Streams || c.perPrefix[prefix] >= limits.StreamsPerSource {
		return false
	}
	if c.strangers.Len() >= max(limits.Streams/strangerStreams, 1) {
		oldest := c.strangers.Front().Value.(net.Conn)
		c.forget(oldest)
		_ = oldest.Close()
	}
	c.conns[conn] = c.strangers.PushBack(conn)
	c.perPrefix[prefix]++
	return true
}

// trust notes that a connection is a peer's who attached, was introduced, or uses
// the relay.
func (c *crowd) trust(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, here := c.conns[conn]; here {
		c.forget(conn)
		c.conns[conn] = nil
	}
}

// leave closes a connection and forgets it.
func (c *crowd) leave(conn net.Conn) {
	_ = conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(conn)
}

func (c *crowd) forget(conn net.Conn) {
	if stranger := c.conns[conn]; stranger != nil {
		c.strangers.Remove(stranger)
		decrease(c.perPrefix, prefixOf(sourceOf(conn).Addr()))
	}
	delete(c.conns, conn)
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

// A turnConn is a connection to the relay, which lifts the bound for reads as soon
// as there is an allocation on it.
type turnConn struct {
	net.Conn
	allocated func()
}

// SetReadDeadline implements net.Conn.
func (c *turnConn) SetReadDeadline(end time.Time) error {
	if end.IsZero() {
		c.allocated()
	}
	return c.Conn.SetReadDeadline(end)
}

func sourceOf(c net.Conn) netip.AddrPort {
	a, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	source := a.AddrPort()
	return netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
}
