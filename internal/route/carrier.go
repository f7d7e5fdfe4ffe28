package route

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A Carrier sends the datagrams of one session on the best of its paths, which
// may be of several routes. It owns no goroutine. Its methods are safe for
// concurrent use.
type Carrier struct {
	mu     sync.Mutex
	choice choice
}

// maxPaths is how many paths a datagram goes out on at most.
const maxPaths = 8

// NewCarrier returns a Carrier without paths.
func NewCarrier() *Carrier { return new(Carrier) }

// Add adds a path that is up: what Config.Up was given, or a LocalPath. If it
// is better than what is used now, it is used at once. A path that it has
// already and one beyond the eighth are ignored.
func (c *Carrier) Add(p *Path) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.choice.members) < maxPaths {
		c.choice.add(p, time.Now())
	}
}

// Remove takes a path away, because it is down.
func (c *Carrier) Remove(p *Path) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.choice.remove(p, time.Now())
}

// Send sends one datagram: on one path, on several while that one is in doubt,
// and on the others too if none of these takes it. It returns an error if no
// path does, one that matches net.ErrClosed if there is none.
func (c *Carrier) Send(b []byte) error {
	var room [maxPaths]*Path
	c.mu.Lock()
	paths := c.choice.send(room[:0], time.Now())
	c.mu.Unlock()
	if len(paths) == 0 {
		return fmt.Errorf("route: no path is up: %w", net.ErrClosed)
	}
	err := sendAll(paths, b)
	if err == nil {
		return nil
	}
	c.mu.Lock()
	others := c.choice.others(paths)
	c.mu.Unlock()
	if len(others) > 0 && sendAll(others, b) == nil {
		return nil
	}
	return err
}

// sendAll sends b on every path. It returns the first error if none took it.
func sendAll(paths []*Path, b []byte) (first error) {
	sent := false
	for _, p := range paths {
		if err := p.Send(b); err == nil {
			sent = true
		} else if first == nil {
			first = err
		}
	}
	if sent {
		return nil
	}
	return first
}

// Heard notes that a datagram that came by p was authentic, or a copy of one
// that another path was faster with. A path that it does not have is ignored.
func (c *Carrier) Heard(p *Path) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.choice.heard(p, time.Now())
}

// Current returns the path that is used now, false if there is none.
func (c *Carrier) Current() (kind Kind, remote netip.AddrPort, ok bool) {
	c.mu.Lock()
	m := c.choice.current
	c.mu.Unlock()
	if m == nil {
		return "", netip.AddrPort{}, false
	}
	return m.path.Kind(), m.path.Remote(), true
}

// Origin returns the least trusted way by which the peer may be speaking: of the
// path that is used now and those by which it was heard in the last two
// seconds, the one of the lowest kind; false if there is none.
func (c *Carrier) Origin() (kind Kind, remote netip.AddrPort, ok bool) {
	c.mu.Lock()
	m := c.choice.origin(time.Now())
	c.mu.Unlock()
	if m == nil {
		return "", netip.AddrPort{}, false
	}
	return m.path.Kind(), m.path.Remote(), true
}

// Silence returns how long the path that is used now has been silent although
// datagrams were sent on it; zero if it was heard since, or there is none. A
// datagram that asks for no answer counts too.
func (c *Carrier) Silence() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.choice.current; m != nil && !m.asked.IsZero() {
		return time.Since(m.asked)
	}
	return 0
}

// DoubtLocal makes a local path that is used now suspect, until it is heard:
// it is better than all others, and the peers may not be on one network any
// more.
func (c *Carrier) DoubtLocal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.choice.current; m != nil && m.path.kind == Local {
		m.asked = time.Now().Add(-suspectAfter)
	}
}

// Tick gives up paths that were tried again in vain. The owner calls it every
// second or more often.
func (c *Carrier) Tick(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.choice.tick(now)
}
