package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// A Conn is a connection to one device, authenticated by its pinned key. Its
// methods may be called concurrently. It ends with its session; to survive
// that, use Client.Forward or Dial again.
type Conn struct {
	client  *Client
	device  Device
	options DialOptions

	renewing sync.Mutex // held while a session is dialled
	mu       sync.Mutex // guards what follows
	current  *link
	older    []*link // their stream ids are used up; they end with their last tunnel
	closed   bool
}

// A Path is how the datagrams of a connection travel now.
type Path struct {
	Kind   string         `json:"path"`   // "local", "direct" or "relay"
	Remote netip.AddrPort `json:"remote"` // the device's end; a name without a host behind it if the path is a relay
	Up     bool           `json:"up"`     // false after 12 s of silence; the session is held for another 60 s
}

// renew dials a session and makes it the current one. The address that worked
// is remembered as the first to try.
func (c *Conn) renew(ctx context.Context) (*link, error) {
	l, added, err := c.client.reach(ctx, c.device, c.options)
	if err != nil {
		return nil, err
	}
	if err := l.login(ctx); err != nil {
		l.close()
		return nil, err
	}
	local := l.isLocal()
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		l.close()
		return nil, net.ErrClosed
	}
	if c.current != nil {
		c.older = append(c.older, c.current)
	}
	c.current = l
	c.mu.Unlock()
	if local {
		c.client.remember(c.device, l.remote(), added)
	}
	c.client.learn(c.device, l)
	return l, nil
}

// remember puts the address that worked first. What discovery claimed comes
// last, so that a liar on the network cannot push good addresses out.
func (c *Client) remember(dev Device, worked netip.AddrPort, claimed []string) {
	first := []string{worked.String()}
	if worked.Addr().IsLinkLocalUnicast() {
		first = nil // means something on this link only, where discovery finds it
	}
	addrs := slices.Clone(first)
	for _, a := range slices.Concat(dev.Addrs, claimed) {
		if !slices.Contains(addrs, a) && !strings.HasPrefix(a, "[fe80:") && len(addrs) < maxAddrs {
			addrs = append(addrs, a)
		}
	}
	if dev.Alias == "" || slices.Equal(addrs, dev.Addrs) {
		return
	}
	known, err := c.OpenKnown()
	if err == nil {
		err = known.Update(dev.Alias, func(d *Device) { d.Addrs = addrs })
	}
	if err != nil {
		c.logger().Warn("remember address", "device", dev.Alias, "err", err) // only a hint for next time
	}
}

// maxAddrs of a device are remembered; older ones are forgotten.
const maxAddrs = 8

// session returns the current link, or why there is none.
func (c *Conn) link() (*link, error) {
	c.mu.Lock()
	l := c.current
	c.mu.Unlock()
	if err := l.cause(); err != nil {
		return nil, err
	}
	return l, nil
}

// linkForTunnel returns a link with stream ids left. When the present one has
// used its own up, a second session takes over and the old one ends with its
// last tunnel, because stream ids are never used twice.
func (c *Conn) linkForTunnel(ctx context.Context) (*link, error) {
	l, err := c.link()
	if err != nil || !l.session.Streams().Exhausted() {
		return l, err
	}
	c.renewing.Lock()
	defer c.renewing.Unlock()
	if l, err = c.link(); err != nil || !l.session.Streams().Exhausted() {
		return l, err
	}
	fresh, err := c.renew(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a second session: %w", err)
	}
	c.retire()
	return fresh, nil
}

// retire closes the older links that carry nothing any more.
func (c *Conn) retire() {
	c.mu.Lock()
	var idle []*link
	c.older = slices.DeleteFunc(c.older, func(l *link) bool {
		if l.tunnels.Load() > 0 && l.cause() == nil {
			return false
		}
		idle = append(idle, l)
		return true
	})
	c.mu.Unlock()
	for _, l := range idle {
		l.close()
	}
}

// idle reports whether no tunnel is open or being opened.
func (c *Conn) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range append(slices.Clone(c.older), c.current) {
		if l.tunnels.Load() > 0 {
			return false
		}
	}
	return true
}

// Device returns the key that the device proved.
func (c *Conn) Device() latchkey.Fingerprint { return c.device.Key }

// Path tells how datagrams travel now.
func (c *Conn) Path() Path {
	c.mu.Lock()
	defer c.mu.Unlock()
	kind, remote, ok := c.current.carrier.Current()
	return Path{Kind: string(kind), Remote: remote, Up: ok && c.current.session.Up()}
}

// Context ends with the connection's session; context.Cause says why.
func (c *Conn) Context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current.session.Context()
}

// Ping measures one round trip to the device.
func (c *Conn) Ping(ctx context.Context) (time.Duration, error) {
	l, err := c.link()
	if err != nil {
		return 0, err
	}
	took, err := l.session.Ping(ctx)
	if err != nil {
		err = l.explain(err)
	}
	return took, err
}

// Export returns keying material that only the two ends of this session have
// (RFC 5705).
func (c *Conn) Export(label string, n int) ([]byte, error) {
	l, err := c.link()
	if err != nil {
		return nil, err
	}
	return l.session.Export(label, n)
}

// Close says goodbye and waits, for a bounded time, until everything has
// stopped. Open tunnels end. It may be called more than once.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closed = true
	links := append(slices.Clone(c.older), c.current)
	c.mu.Unlock()
	for _, l := range links {
		l.close()
	}
	return nil
}

// explain makes the end of a session, rather than of one exchange, the reason
// of a failure.
func (l *link) explain(err error) error {
	if cause := ending(l.session.Reason()); cause != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return cause
	}
	return err
}
