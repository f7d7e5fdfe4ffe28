package acl

import (
	"net/netip"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// Names of examples. They are nobody's.
const (
	somebody  = "somebody"
	something = "something"
)

// witness makes a request that the statement at s should match, asked by h, for
// an action and a resource that fits pattern. All facts are known. It is false if
// none was found.
func (l *linter) witness(h holder, s *statement, a Action, pattern *resourcePattern) (Request, bool) {
	r := l.facts(h, a)
	if !l.satisfy(&r, s) {
		return r, false
	}
	if h.role == RoleUnpaired && (r.User != "" || !r.KeyAdded.IsZero()) {
		return r, false // strangers have no names, and their keys were never added
	}
	resource, ok := pattern.instance(&r, a)
	r.Resource = resource
	return r, ok
}

// witnesses makes a request for each action of set and each pattern of s until
// one fits.
func (l *linter) witnesses(h holder, s *statement, set actionSet, fits func(Request) bool) bool {
	for i := range s.resources {
		for _, a := range (s.set & set).list() {
			if !l.spend(tryWork + 4*len(s.conditions)) {
				return false
			}
			pattern, ok := s.resources[i].meet(a.shape())
			if !ok {
				continue
			}
			if r, ok := l.witness(h, s, a, pattern); ok && fits(r) {
				return true
			}
		}
	}
	return false
}

// facts are those of a request without conditions to meet.
func (l *linter) facts(h holder, a Action) Request {
	r := Request{
		Device: latchkey.DeviceID{Product: "product", Device: "device"},
		User:   somebody, Role: h.role, Action: a,
		Path: PathLocal, Source: netip.AddrFrom4([4]byte{192, 0, 2, 10}),
		Time: noon, KeyAdded: noon.Add(-time.Hour), KeyOrigin: "manual",
	}
	if h.user != "" {
		r.User = h.user
	}
	if h.role == "" {
		r.Role = RoleUser
	}
	if h.role == RoleUnpaired {
		r.User, r.KeyAdded, r.KeyOrigin = "", time.Time{}, ""
	}
	if a.has(attribute{kind: serviceType}) {
		r.ServiceType = "tcp"
	}
	return r
}

// instance returns a resource that the pattern matches for r.
func (p *resourcePattern) instance(r *Request, a Action) (string, bool) {
	var out []string
	for i, s := range p.segments {
		switch s.kind {
		case exactly:
			out = append(out, s.text)
		case variable:
			text, ok := s.with.expand(r)
			if !ok || strings.Contains(text, "/") {
				return "", false
			}
			out = append(out, text)
		case oneSegment:
			text := something
			if i == 0 && a.what() == "route" {
				text = "http:"
			}
			out = append(out, text)
		case anySegments:
			if i == len(p.segments)-1 {
				out = append(out, something)
			}
		}
	}
	text := strings.Join(out, "/")
	_, clean := splitResource(nil, text)
	return text, clean
}
