package acl

import (
	"fmt"
	"slices"
	"strings"
)

// never finds statements that no request can match while all facts are known, and
// conditions that make no difference.
func (l *linter) never() {
	for _, p := range l.doc.Policies {
		for _, s := range sites(p) {
			h := l.of(p)[0]
			switch {
			case l.contradicts(h, s), l.shapeless(h, s), l.factless(h, s), l.roleless(s):
			default:
				l.alwaysTrue(h, s)
			}
		}
	}
}

// dead reports a statement that never matches, if near, a request that all but
// why fits, confirms it.
func (l *linter) dead(h holder, s site, near Request, why, fix string) bool {
	e := l.try(h, near)
	if e == nil || e.hits(s) {
		return false
	}
	if s.effect == Deny {
		l.report(SeverityError, "deny-never-fires", s, e, "never denies anything: "+why, fix)
	} else {
		l.report(SeverityWarning, "allow-never-fires", s, e, "never allows anything: "+why, fix)
	}
	return true
}

// near makes a request that fits the actions and resources of s, whatever its
// conditions say.
func (l *linter) near(h holder, s site) Request {
	plain := *s.statement
	plain.conditions = nil
	r := l.facts(h, s.set.list()[0])
	r.Resource = something
	l.witnesses(h, &plain, s.set, func(found Request) bool {
		r = found
		return true
	})
	return r
}

// contradicts reports conditions that exclude each other.
func (l *linter) contradicts(h holder, s site) bool {
	for _, group := range s.byAttribute() {
		if !l.contradict(group) {
			continue
		}
		var texts []string
		for i := range s.conditions {
			if s.conditions[i].attr == group[0].attr {
				texts = append(texts, s.policy.source[s.index].Conditions[i].String())
			}
		}
		why := "these cannot hold together: " + strings.Join(texts, "; ")
		if s.effect == Deny {
			why += fmt.Sprintf(" (only where %s is not known, they count as held)", group[0].attr)
		}
		return l.dead(h, s, l.near(h, s), why, "write values of one condition, of which one must hold, or two statements")
	}
	return false
}

// shapeless reports resources that the actions can never be about. All of them
// make the statement dead, some a mistake.
func (l *linter) shapeless(h holder, s site) bool {
	var idle []string
	for i := range s.resources {
		if !slices.ContainsFunc(s.set.list(), func(a Action) bool { return l.fits(&s.resources[i], a) }) {
			idle = append(idle, s.policy.source[s.index].Resources[i])
		}
	}
	if len(idle) == 0 {
		return false
	}
	r := l.facts(h, s.set.list()[0])
	r.Resource, _ = r.Action.shape().instance(&r, r.Action)
	why := fmt.Sprintf("%s is never asked about %s", strings.Join(s.policy.source[s.index].Actions, ", "), strings.Join(idle, ", "))
	fix := "paths of CoAP begin with /, routes with http:// or coap://; services, users, roles and policies are one name"
	if len(idle) == len(s.resources) {
		return l.dead(h, s, r, why, fix)
	}
	if e := l.try(h, r); e != nil {
		l.report(SeverityWarning, "resource-never-matches", s, e, why, fix)
	}
	return true
}

// fits reports whether an action can be about what a pattern matches.
func (l *linter) fits(p *resourcePattern, a Action) bool {
	shape := a.shape()
	if !l.spend(1 + len(p.segments)*len(shape.segments)) {
		return true
	}
	m, ok := p.meet(shape)
	if !ok || len(m.segments) != 1 || m.segments[0].kind != exactly {
		return ok
	}
	switch a.what() {
	case "tunnel", "service":
		return isServiceID(m.segments[0].text)
	}
	return true
}

// isServiceID reports whether a service can have this id: 1 to 63 of a-z, 0-9 and
// -, and no - first.
func isServiceID(s string) bool {
	return len(s) <= 63 && s != "" && s[0] != '-' && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-'
	})
}

// factless reports a condition on a fact that requests for these actions never
// have. An allow then never matches, a deny always.
func (l *linter) factless(h holder, s site) bool {
	for i := range s.conditions {
		attr := s.conditions[i].attr
		without := s.set
		for _, a := range s.set.list() {
			if a.has(attr) {
				without &^= bits[a]
			}
		}
		if without == 0 {
			continue
		}
		r := l.near(h, site{s.policy, s.index, &statement{set: without, resources: s.resources}})
		if s.effect == Allow && without == s.set {
			return l.dead(h, s, r, fmt.Sprintf("requests for these actions have no %s", attr), "ask for it in statements about tunnel:open and service:list alone")
		}
		if s.effect == Deny {
			return l.needs(h, s, r, attr)
		}
	}
	return false
}

// roleless reports an allow or deny that asks for roles which none of those who
// have the policy has.
func (l *linter) roleless(s site) bool {
	holders := l.of(s.policy)
	for i := range s.conditions {
		c := &s.conditions[i]
		if c.attr.kind != connectionRole || slices.ContainsFunc(c.texts, template.varies) || slices.ContainsFunc(holders, func(h holder) bool {
			return h.role == "" || c.holds(&Request{Role: h.role}, false)
		}) {
			continue
		}
		return l.dead(holders[0], s, l.near(holders[0], s),
			fmt.Sprintf("nobody who has the policy has such a role: %s", s.policy.source[s.index].Conditions[i]),
			"attach the policy to that role, or leave the condition out")
	}
	return false
}

// alwaysTrue reports conditions that hold for every value.
func (l *linter) alwaysTrue(h holder, s site) {
	for i := range s.conditions {
		c := s.conditions[i]
		if !l.implied(&c, nil, true) {
			continue
		}
		l.witnesses(h, s.statement, s.set, func(r Request) bool {
			e := l.try(h, r)
			if !e.hits(s) {
				return false
			}
			l.report(SeverityWarning, "condition-always-true", s, e,
				fmt.Sprintf("this holds for every %s: %s", c.attr, s.policy.source[s.index].Conditions[i]),
				"leave the condition out, or name the values that are meant")
			return true
		})
	}
}
