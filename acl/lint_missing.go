package acl

import (
	"fmt"
	"net/netip"
	"time"
)

// missing finds statements that depend on facts which requests may lack: a deny
// then holds for more than it names, an allow for less.
func (l *linter) missing() {
	for _, p := range l.doc.Policies {
		clock := false
		for _, s := range sites(p) {
			for i := range s.conditions {
				c := &s.conditions[i]
				if c.attr.kind == clockTime || c.attr.kind == keyAge {
					clock = clock || l.needsClock(s)
				} else if s.effect == Deny && !c.negative && c.attr.kind != serviceType {
					l.deniesWithout(s, c.attr)
				}
			}
		}
	}
}

// deniesWithout reports a deny for some values that also holds for who has none.
// One for all but some values is meant so.
func (l *linter) deniesWithout(s site, attr attribute) {
	for _, h := range l.of(s.policy) {
		if attr.kind == connectionUser && h.role != RoleUnpaired {
			continue // only strangers and tokens have no user
		}
		if attr.kind != connectionUser && attr.kind != connectionSource && attr.kind != tokenClaim {
			return
		}
		found := l.witnesses(h, s.statement, s.set, func(r Request) bool {
			switch attr.kind {
			case connectionSource:
				r.Source, r.Path = netip.Addr{}, PathRelay
			case tokenClaim:
				r.Claims = nil
			default:
				r.User = ""
			}
			return l.needs(h, s, r, attr)
		})
		if found {
			return
		}
	}
}

// needs reports a deny that holds for r only because a fact is missing.
func (l *linter) needs(h holder, s site, r Request, attr attribute) bool {
	e := l.try(h, r)
	if !e.by(s) || s.asked(&e.request, false) {
		return false
	}
	l.report(SeverityWarning, "deny-without-fact", s, e,
		fmt.Sprintf("also denies everybody of whom %s is not known, not just the values that it names", attr),
		"allow what is meant under this condition instead, or say not-equals or not-in of what may pass")
	return true
}

// needsClock notes what becomes of a statement while the clock is not known.
func (l *linter) needsClock(s site) bool {
	h := l.of(s.policy)[0]
	return l.witnesses(h, s.statement, s.set, func(r Request) bool {
		r.Time, r.KeyAdded = time.Time{}, time.Time{}
		e := l.try(h, r)
		text := "while the device does not know the time, this allows nothing"
		if s.effect == Deny {
			text = "while the device does not know the time, this denies at any time"
		}
		if e == nil || e.hits(s) != (s.effect == Deny) {
			return false
		}
		l.report(SeverityNote, "needs-clock", s, e, text, "see to it that the device learns the time soon after it starts")
		return true
	})
}
