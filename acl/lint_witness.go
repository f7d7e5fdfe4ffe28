package acl

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
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
			if !l.spend(1 + len(s.conditions)) {
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

// satisfy gives r the facts that the conditions and variables of s ask for.
func (l *linter) satisfy(r *Request, s *statement) bool {
	for _, name := range s.claims() {
		if r.Claims == nil {
			r.Claims = make(map[string]any)
		}
		r.Claims[name] = something
	}
	for _, group := range s.byAttribute() {
		if !l.satisfyAll(r, group) {
			return false
		}
	}
	return holdAll(pointers(s.conditions), r)
}

func pointers(conditions []condition) (out []*condition) {
	for i := range conditions {
		out = append(out, &conditions[i])
	}
	return out
}

// satisfyAll gives r a value of one attribute that meets all conditions on it.
func (l *linter) satisfyAll(r *Request, conditions []*condition) bool {
	attr := conditions[0].attr
	var try []func()
	switch attr.kind {
	case connectionSource:
		for _, a := range edges(conditions) {
			try = append(try, func() { r.Source = a })
		}
	case clockTime:
		was := *r
		for _, t := range moments(conditions) {
			try = append(try, func() {
				if r.Time = t; !was.KeyAdded.IsZero() {
					r.KeyAdded = t.Add(was.KeyAdded.Sub(was.Time))
				}
			})
		}
	case keyAge:
		for _, c := range conditions {
			for _, age := range []time.Duration{c.age, 0} {
				try = append(try, func() { r.KeyAdded = r.Time.Add(-age) })
			}
		}
	default:
		for _, text := range texting(conditions, r) {
			try = append(try, func() { r.setText(attr, text) })
		}
	}
	if holdAll(conditions, r) {
		return true
	}
	for _, set := range try {
		if !l.spend(len(conditions)) {
			return false
		}
		set()
		if holdAll(conditions, r) {
			return true
		}
	}
	return false
}

// texting are texts to try for an attribute: those that conditions name, all of
// them at once if it is a claim, and some that they do not.
func texting(conditions []*condition, r *Request) (out []any) {
	attr := conditions[0].attr
	var all []any
	for _, c := range conditions {
		for i, t := range c.texts {
			text, ok := t.expand(r)
			if !ok || c.negative {
				continue
			}
			out = append(out, text)
			if i == 0 {
				all = append(all, text)
			}
		}
	}
	if domain := domains[attr.kind]; domain != nil {
		for _, value := range domain {
			out = append(out, value)
		}
		return out
	}
	if len(all) > 0 && attr.kind == tokenClaim {
		out = append(out, all)
	}
	return append(out, something, "someone", "device2")
}

// expand returns the text that t stands for, false if a variable has no value.
func (t template) expand(r *Request) (string, bool) {
	var b strings.Builder
	for _, p := range t {
		text := p.text
		if p.attr.kind != literal {
			var ok bool
			if text, ok = r.text(p.attr); !ok {
				return "", false
			}
		}
		b.WriteString(text)
	}
	return b.String(), true
}

// setText gives r the value of a textual attribute. What the attribute cannot be
// is left alone.
func (r *Request) setText(a attribute, value any) {
	text, _ := value.(string)
	switch a.kind {
	case connectionUser:
		r.User = text
	case connectionRole:
		r.Role = text
	case connectionPath:
		r.Path = PathKind(text)
	case keyFingerprint:
		r.Peer, _ = latchkey.ParseFingerprint(text)
	case keyOrigin:
		r.KeyOrigin = text
	case deviceID:
		if id, err := latchkey.ParseDeviceID(text); err == nil {
			r.Device = id
		}
	case deviceProduct:
		r.setText(attribute{kind: deviceID}, text+"/"+r.Device.Device)
	case deviceUnit:
		r.setText(attribute{kind: deviceID}, r.Device.Product+"/"+text)
	case serviceType:
		r.ServiceType = text
	case tokenClaim:
		if r.Claims = maps.Clone(r.Claims); r.Claims == nil {
			r.Claims = make(map[string]any)
		}
		r.Claims[a.claim] = value
	default:
	}
}

// claims are the names of the claims that the statement asks for.
func (s *statement) claims() []string {
	seen := make(map[string]bool)
	for a := range s.attributes() {
		if a.kind == tokenClaim {
			seen[a.claim] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// attributes yields what the statement asks for, in conditions and as variables.
func (s *statement) attributes() iter.Seq[attribute] {
	return func(yield func(attribute) bool) {
		for i := range s.conditions {
			if !yield(s.conditions[i].attr) {
				return
			}
			for _, t := range s.conditions[i].texts {
				for a := range t.variables() {
					if !yield(a) {
						return
					}
				}
			}
		}
		for i := range s.resources {
			for _, segment := range s.resources[i].segments {
				for a := range segment.with.variables() {
					if !yield(a) {
						return
					}
				}
			}
		}
	}
}

// variables yields the variables of t.
func (t template) variables() iter.Seq[attribute] {
	return func(yield func(attribute) bool) {
		for _, p := range t {
			if p.attr.kind != literal && !yield(p.attr) {
				return
			}
		}
	}
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
