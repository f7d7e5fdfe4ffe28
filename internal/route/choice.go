package route

import (
	"slices"
	"time"
)

const (
	// suspectAfter is how long a path may be silent although we send on it.
	suspectAfter = time.Second
	// A path that failed us is passed over for firstHold; each further failure
	// doubles that up to lastHold, and provenAfter without one forgives it.
	firstHold   = 5 * time.Second
	lastHold    = time.Minute
	provenAfter = time.Minute
)

// A choice decides which paths of a session to send on. It reads no clock and
// knows nothing of datagrams. The rules:
//
//   - The current path is the best kind that is not passed over; among equals
//     the newest. A better path that comes up is current at once.
//   - A path that was never heard is sent on beside the one before it.
//   - A current path that is suspect is sent on beside all others. If something
//     is then heard on another path, that one becomes current, and the first is
//     passed over for a while: this is what keeps paths from flapping.
//   - When the while is over, the path is sent on beside the current one. It is
//     current again when something is heard on it, or passed over for longer.
type choice struct {
	members []*member // best first
	current *member
	before  *member // current until the current one came up
}

// A member is a path in a choice.
type member struct {
	path   *Path
	rank   int
	proven bool      // heard since it became current or came on trial
	heard  time.Time // last
	asked  time.Time // first datagram sent since then; zero: none
	until  time.Time // passed over until then; zero: never failed
	hold   time.Duration
	since  time.Time // it became current
}

// suspect reports whether the path is silent although we send on it.
func (m *member) suspect(now time.Time) bool {
	return !m.asked.IsZero() && now.Sub(m.asked) >= suspectAfter
}

// lately is how long a path by which something came may still be the one that
// the peer prefers.
const lately = 2 * time.Second

// origin returns the lowest of the current path and those heard lately.
func (c *choice) origin(now time.Time) *member {
	lowest := c.current
	for _, m := range c.members {
		if !m.heard.IsZero() && now.Sub(m.heard) < lately && (lowest == nil || m.rank < lowest.rank) {
			lowest = m
		}
	}
	return lowest
}

func (c *choice) find(p *Path) *member {
	for _, m := range c.members {
		if m.path == p {
			return m
		}
	}
	return nil
}

func (c *choice) add(p *Path, now time.Time) {
	if c.find(p) != nil {
		return
	}
	m := &member{path: p, rank: p.kind.rank()}
	i := slices.IndexFunc(c.members, func(o *member) bool { return o.rank <= m.rank })
	if i < 0 {
		i = len(c.members)
	}
	c.members = slices.Insert(c.members, i, m)
	if c.current == nil || m.rank >= c.current.rank {
		c.move(m, now)
	}
}

func (c *choice) remove(p *Path, now time.Time) {
	m := c.find(p)
	if m == nil {
		return
	}
	c.members = slices.DeleteFunc(c.members, func(o *member) bool { return o == m })
	if c.before == m {
		c.before = nil
	}
	if c.current == m {
		c.current = nil
		c.move(c.best(now), now)
	}
}

// best returns the best path that is not passed over, else the best.
func (c *choice) best(now time.Time) *member {
	for _, m := range c.members {
		if m.until.IsZero() || m.proven && !now.Before(m.until) {
			return m
		}
	}
	if len(c.members) > 0 {
		return c.members[0]
	}
	return nil
}

func (c *choice) move(m *member, now time.Time) {
	if m == c.current {
		return
	}
	c.before, c.current = c.current, m
	if m != nil {
		m.since = now
	}
}

// heard notes that something authentic came by a path.
func (c *choice) heard(p *Path, now time.Time) {
	m := c.find(p)
	if m == nil {
		return
	}
	m.heard, m.asked, m.proven = now, time.Time{}, true
	cur := c.current
	switch {
	case m == cur:
		if m.hold > 0 && now.Sub(m.since) >= provenAfter {
			m.hold, m.until = 0, time.Time{}
		}
	case cur.suspect(now):
		cur.fail(now)
		c.move(m, now)
	case m.rank > cur.rank && !now.Before(m.until):
		c.move(m, now)
	}
}

// fail passes the path over for a while.
func (m *member) fail(now time.Time) {
	m.hold = min(max(2*m.hold, firstHold), lastHold)
	m.until, m.asked, m.proven = now.Add(m.hold), time.Time{}, false
}

// trial returns a path that was passed over for long enough, if it is better
// than the current one.
func (c *choice) trial(now time.Time) *member {
	for _, m := range c.members {
		if m.rank <= c.current.rank {
			break
		}
		if m != c.current && !now.Before(m.until) {
			return m
		}
	}
	return nil
}

// tick ends trials without an answer.
func (c *choice) tick(now time.Time) {
	if c.current == nil {
		return
	}
	for _, m := range c.members {
		if m != c.current && m.rank > c.current.rank && !now.Before(m.until) && m.suspect(now) {
			m.fail(now)
		}
	}
}

// send appends the paths that a datagram goes out on, the current one first,
// and notes that it does.
func (c *choice) send(to []*Path, now time.Time) []*Path {
	cur := c.current
	if cur == nil {
		return to
	}
	to = cur.ask(to, now)
	switch t := c.trial(now); {
	case cur.suspect(now):
		for _, m := range c.members {
			if m != cur {
				to = m.ask(to, now)
			}
		}
	case t != nil:
		to = t.ask(to, now)
	case !cur.proven && c.before != nil:
		to = c.before.ask(to, now)
	}
	return to
}

// others returns the paths that are not among those.
func (c *choice) others(those []*Path) (rest []*Path) {
	for _, m := range c.members {
		if !slices.Contains(those, m.path) {
			rest = append(rest, m.path)
		}
	}
	return rest
}

func (m *member) ask(to []*Path, now time.Time) []*Path {
	if m.asked.IsZero() {
		m.asked = now
	}
	return append(to, m.path)
}
