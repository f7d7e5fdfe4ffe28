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
func (l *linter) ask(h holder, s site, set actionSet, p, q *resourcePattern, values map[attribute]string) *Example {
	for _, a := range set.list() {
		pattern, ok := p.meet(a.shape())
		if ok && q != nil {
			pattern, ok = pattern.meet(q)
		}
		if !ok || !l.spend(1+len(p.segments)) {
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
		if e := l.example(h, r); e.hits(s) {
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
				if e == nil || e.Decision.Effect != Allow {
					continue
				}
				l.report(SeverityWarning, "variable-leads", s, e,
					fmt.Sprintf("%s alone chooses what this is about; with the value %q it is %s", attr, name, e.Test.Request.Resource),
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
			if e == nil || f == nil || e.Test.Request.Resource != f.Test.Request.Resource {
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

// collides reports a variable that for some value stands for what another
// statement speaks of, and who has that value is allowed it by s alone.
func (l *linter) collides(h holder, s site, p *resourcePattern) {
	for i := range p.segments {
		segment := &p.segments[i]
		if segment.kind == anySegments {
			return
		}
		attr, before, after, ok := segment.only()
		if !ok || !attr.chosen() {
			continue
		}
		for _, t := range sites(l.doc.Policies...) {
			for j := range t.resources {
				q := &t.resources[j]
				if t.statement == s.statement || s.set&t.set == 0 || i >= len(q.segments) || !l.spend(1+i) {
					continue
				}
				text, ok := q.segments[i].sample()
				value, fits := strings.CutPrefix(text, before)
				value, ends := strings.CutSuffix(value, after)
				if !ok || !fits || !ends || value == "a" || !possible(map[attribute]string{attr: value}) {
					continue
				}
				if l.reaches(h, s, t, p, q, attr, value) {
					return
				}
			}
		}
	}
}

// reaches reports a collision if no other statement allows the same.
func (l *linter) reaches(h holder, s, t site, p, q *resourcePattern, attr attribute, value string) bool {
	plain := *q
	plain.segments = slices.Clone(q.segments)
	for i := range plain.segments {
		if text, ok := plain.segments[i].sample(); ok {
			plain.segments[i] = segment{kind: exactly, text: text}
		}
	}
	e := l.ask(h, s, s.set&t.set, p, &plain, map[attribute]string{attr: value})
	if e == nil || !e.by(s) || slices.ContainsFunc(e.Decision.Trace, func(step Step) bool {
		return step.Matched && (step.Policy != s.policy.name || step.Statement != s.index+1)
	}) {
		return false
	}
	l.report(SeverityWarning, "variable-collides", s, e,
		fmt.Sprintf("with %s %q this is %s, of which policy %q, statement %d, speaks", attr, value, e.Test.Request.Resource, t.policy.name, t.index+1),
		"keep what has the name of its owner apart from the rest, in a path segment of its own below one for all of them")
	return true
}

// only returns the variable of a segment that has just one, and the text around
// it.
func (s *segment) only() (attr attribute, before, after string, ok bool) {
	for _, p := range s.with {
		switch {
		case p.attr.kind != literal && ok:
			return attribute{}, "", "", false
		case p.attr.kind != literal:
			attr, ok = p.attr, true
		case ok:
			after = p.text
		default:
			before = p.text
		}
	}
	return attr, before, after, ok
}

// sample is a text that the segment can be: its own, or with "a" for its
// variable.
func (s *segment) sample() (string, bool) {
	if s.kind == exactly {
		return s.text, s.text != ""
	}
	_, before, after, ok := s.only()
	return before + "a" + after, ok
}

// unvouched reports an allow by claims that does not ask who vouches for them.
func (l *linter) unvouched(h holder, s site) {
	claims := s.claims()
	if len(claims) == 0 || l.around.Issuers != nil && len(l.around.Issuers) < 2 || slices.ContainsFunc(s.conditions, func(c condition) bool {
		return c.attr == attribute{tokenClaim, issuer} && !c.negative
	}) {
		return
	}
	severity := SeverityNote
	if len(l.around.Issuers) > 1 {
		severity = SeverityWarning
	}
	l.witnesses(h, s.statement, s.set, func(r Request) bool {
		r.setText(attribute{tokenClaim, issuer}, "https://other.example")
		e := l.example(h, r)
		if !e.hits(s) {
			return false
		}
		l.report(severity, "claim-without-issuer", s, e,
			fmt.Sprintf("takes claim %s from whichever issuer the device trusts", strings.Join(claims, ", ")),
			"add a condition: claim.iss equals the issuer that may say so")
		return true
	})
}

// byName notes a deny that who it names can leave behind with a new name.
func (l *linter) byName(h holder, s site) {
	for i := range s.conditions {
		c := &s.conditions[i]
		if c.attr.kind != connectionUser || c.negative || slices.ContainsFunc(c.texts, template.varies) {
			continue
		}
		for _, t := range sites(h.policies...) {
			if t.effect != Allow || !l.overlap(s.statement, t.statement) {
				continue
			}
			if l.witnesses(h, s.statement, s.set&t.set, func(r Request) bool {
				if e := l.example(h, r); !e.by(s) {
					return false
				}
				r.User += "2"
				e := l.example(h, r)
				if e == nil || e.Decision.Effect != Allow {
					return false
				}
				l.report(SeverityNote, "deny-by-name", s, e,
					"names people, and who pairs again under another name is not meant any more", "deny a role, or allow the others by name")
				return true
			}) {
				return
			}
		}
	}
}
