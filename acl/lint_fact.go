package acl

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// contradict reports whether conditions on one attribute can never hold together
// where that attribute is known. What it says is so; it may miss some.
func (l *linter) contradict(conditions []*condition) bool {
	if len(conditions) == 0 {
		return false
	}
	switch conditions[0].attr.kind {
	case connectionSource:
		l.spend(setWork)
		return !slices.ContainsFunc(edges(conditions), func(a netip.Addr) bool {
			return l.spend(len(conditions)) && holdAll(conditions, &Request{Source: a})
		}) && l.work > 0
	case clockTime:
		return l.neverWithin(conditions)
	case keyAge:
		least, most := time.Duration(0), maxAge+1
		for _, c := range conditions {
			if c.negative {
				least = max(least, c.age)
			} else {
				most = min(most, c.age)
			}
		}
		return least >= most
	default:
		return slices.ContainsFunc(conditions, func(c *condition) bool {
			return !c.negative && !slices.ContainsFunc(c.texts, func(t template) bool { return l.survives(t, c, conditions) })
		}) || l.exhausts(conditions)
	}
}

// holdAll reports whether all conditions hold, with what is known.
func holdAll(conditions []*condition, r *Request) bool {
	return !slices.ContainsFunc(conditions, func(c *condition) bool { return !c.holds(r, false) })
}

// survives reports whether a value of c may pass the other conditions. A claim
// that is a list may equal several texts at once.
func (l *linter) survives(t template, c *condition, conditions []*condition) bool {
	for _, other := range conditions {
		l.spend(len(other.texts))
		same := slices.ContainsFunc(other.texts, func(u template) bool { return slices.Equal(t, u) })
		open := slices.ContainsFunc(other.texts, template.varies) || t.varies()
		switch {
		case other.negative && same:
			return false
		case !other.negative && !same && !open && c.attr.kind != tokenClaim:
			return false
		}
	}
	return true
}

// varies reports whether the template has variables.
func (t template) varies() bool {
	return slices.ContainsFunc(t, func(p part) bool { return p.attr.kind != literal })
}

// text is what was compiled.
func (t template) String() string {
	var b strings.Builder
	for _, p := range t {
		if p.attr.kind == literal {
			b.WriteString(p.text)
		} else {
			b.WriteString("${" + p.attr.String() + "}")
		}
	}
	return b.String()
}

// domains are the attributes that have few values.
var domains = map[attributeKind][]string{
	connectionPath: {string(PathLocal), string(PathDirect), string(PathRelay)},
	serviceType:    {"tcp", "udp", "unix"},
}

// exhausts reports whether conditions exclude every value that there is.
func (l *linter) exhausts(conditions []*condition) bool {
	domain := domains[conditions[0].attr.kind]
	for _, value := range domain {
		if !slices.ContainsFunc(conditions, func(c *condition) bool { return !c.mayHold(value) }) {
			return false
		}
	}
	return len(domain) > 0
}

// mayHold reports whether a condition on text may hold for a value, whatever its
// variables stand for.
func (c *condition) mayHold(value string) bool {
	hit := slices.ContainsFunc(c.texts, func(t template) bool { return !t.varies() && t.String() == value })
	if c.negative {
		return !hit
	}
	return hit || slices.ContainsFunc(c.texts, template.varies)
}

// edges are addresses around the limits of all prefixes, one in each part into
// which they divide the addresses.
func edges(conditions []*condition) []netip.Addr {
	all := map[netip.Addr]bool{
		netip.IPv4Unspecified(): true, netip.IPv6Unspecified(): true,
		// Sources are never IPv4 addresses in the form of IPv6.
		netip.MustParseAddr("::fffe:ffff:ffff"): true, netip.MustParseAddr("::1:0:0:0"): true,
		netip.MustParseAddr("192.0.2.10"): true,
	}
	for _, c := range conditions {
		for _, p := range c.prefixes {
			first, last := p.Addr(), lastOf(p)
			for _, a := range []netip.Addr{first, last, first.Prev(), last.Next()} {
				if a.IsValid() && !a.Is4In6() {
					all[a] = true
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(all), netip.Addr.Compare)
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// implied reports whether c holds wherever all conditions do. With unsure that is
// asked of a c that holds too where its attribute is not known.
func (l *linter) implied(c *condition, conditions []condition, unsure bool) bool {
	var same []*condition
	for i := range conditions {
		if conditions[i].attr == c.attr {
			same = append(same, &conditions[i])
		}
	}
	if slices.ContainsFunc(same, c.equal) {
		return true
	}
	if len(same) == 0 && !unsure || slices.ContainsFunc(c.texts, template.varies) ||
		slices.ContainsFunc(c.windows, func(w window) bool { return w.zone == nil }) {
		return false
	}
	contrary := *c
	contrary.negative = !c.negative
	return l.contradict(append(same, &contrary))
}

// equal reports whether two conditions say the same.
func (c *condition) equal(d *condition) bool {
	return c.attr == d.attr && c.negative == d.negative && c.age == d.age &&
		slices.Equal(c.prefixes, d.prefixes) && slices.Equal(c.windows, d.windows) &&
		slices.EqualFunc(c.texts, d.texts, func(a, b template) bool { return slices.Equal(a, b) })
}

// byAttribute gathers conditions.
func (s *statement) byAttribute() (out [][]*condition) {
	for i := range s.conditions {
		c := &s.conditions[i]
		n := slices.IndexFunc(out, func(group []*condition) bool { return group[0].attr == c.attr })
		if n < 0 {
			out = append(out, nil)
			n = len(out) - 1
		}
		out[n] = append(out[n], c)
	}
	return out
}
