package acl

import (
	"fmt"
	"slices"
	"strings"
)

// issuer is the claim that says who vouches for a token.
const issuer = "iss"

// chosen reports whether peers choose the value: names of users when they pair,
// claims where tokens come from.
func (a attribute) chosen() bool { return a.kind == connectionUser || a.kind == tokenClaim }

// variables finds variables, and conditions, whose values let peers reach what is
// not theirs.
func (l *linter) variables() {
	for _, p := range l.doc.Policies {
		for _, s := range sites(p) {
			h := l.anybody(p)
			for i := range s.resources {
				l.leads(h, s, &s.resources[i])
				l.runsTogether(h, s, &s.resources[i])
				if s.effect == Allow {
					l.collides(h, s, &s.resources[i])
				}
			}
			if s.effect == Allow {
				l.unvouched(h, s)
			} else {
				l.byName(h, s)
			}
		}
	}
}

// anybody is a holder of p that is no certain user.
func (l *linter) anybody(p *Policy) holder {
	for _, h := range l.of(p) {
		if h.user == "" && h.role != RoleUnpaired {
			return h
		}
	}
	return holder{policies: []*Policy{p}}
}

// ask makes an example of h asking for an action that s is about, on a resource
// that fits both p and q, with some values.
func (l *linter) ask(h holder, s site, set actionSet, p, q *resourcePattern, values map[attribute]string) *trial {
	for _, a := range set.list() {
		pattern, ok := p.meet(a.shape())
		if ok && q != nil {
			pattern, ok = pattern.meet(q)
		}
		if !ok || !l.spend(tryWork+4*len(s.conditions)) {
			continue
		}
		r := l.facts(h, a)
		if !l.satisfy(&r, s.statement) {
			continue
		}
		for attr, text := range values {
			r.setText(attr, text)
		}
		if r.Resource, ok = pattern.instance(&r, a); !ok {
			continue
		}
		if e := l.try(h, r); e.hits(s) {
			return e
		}
	}
	return nil
}

// leads reports a variable that is the whole of what comes first in a path, or
// the whole name of a service: then its value chooses among all that there is.
func (l *linter) leads(h holder, s site, p *resourcePattern) {
	var set actionSet
	for _, a := range s.set.list() {
		switch a.what() {
		case "coap", "route", "tunnel", "service", "role", "policy":
			set |= bits[a]
		}
	}
	for i, segment := range p.segments {
		switch {
		case segment.kind == variable && len(segment.with) == 1 && segment.with[0].attr.chosen() && s.effect == Allow:
			attr := segment.with[0].attr
			for _, name := range []string{"device", "ssh", "evil.example"} {
				e := l.ask(h, s, set, p, nil, map[attribute]string{attr: name})
				if e == nil || e.effect != Allow {
					continue
				}
				l.report(SeverityWarning, "variable-leads", s, e,
					fmt.Sprintf("%s alone chooses what this is about; with the value %q it is %s", attr, name, e.request.Resource),
					"put plain text before it, such as /home/${connection.user}/**")
				return
			}
			return
		case segment.kind == exactly && (segment.text == "" || i == 0 && strings.HasSuffix(segment.text, ":")):
		default:
			return
		}
	}
}

// runsTogether reports two variables in one segment, where different values make
// the same text.
func (l *linter) runsTogether(h holder, s site, p *resourcePattern) {
	for _, segment := range p.segments {
		for i, first := range segment.with {
			rest := segment.with[i+1:]
			n := slices.IndexFunc(rest, func(p part) bool { return p.attr.kind != literal })
			if first.attr.kind == literal || n < 0 || rest[n].attr == first.attr || !first.attr.chosen() && !rest[n].attr.chosen() {
				continue
			}
			between := ""
			if n > 0 {
				between = rest[0].text
			}
			one := map[attribute]string{first.attr: "a", rest[n].attr: "b" + between + "c"}
			two := map[attribute]string{first.attr: "a" + between + "b", rest[n].attr: "c"}
			if !possible(one) || !possible(two) {
				continue
			}
			e, f := l.ask(h, s, s.set, p, nil, one), l.ask(h, s, s.set, p, nil, two)
			if e == nil || f == nil || e.request.Resource != f.request.Resource {
				continue
			}
			l.report(SeverityWarning, "variables-run-together", s, f,
				fmt.Sprintf("%s %q with %s %q is the same as %q with %q", first.attr, "a"+between+"b", rest[n].attr, "c", "a", "b"+between+"c"),
				"put a slash between them, or what neither can have")
			return
		}
	}
}

// possible reports whether attributes can have these values.
func possible(values map[attribute]string) bool {
	for attr, text := range values {
		switch attr.kind {
		case connectionUser:
			if CheckUserName(text) != nil {
				return false
			}
		case connectionRole:
			if checkName("role", text) != nil {
				return false
			}
		case tokenClaim:
		default:
			return false // the device's own, or one of few
		}
	}
	return true
}
