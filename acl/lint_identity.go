package acl

import (
	"fmt"
	"slices"
	"strings"
)

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
		e := l.try(h, r)
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
				if e := l.try(h, r); !e.by(s) {
					return false
				}
				r.User += "2"
				e := l.try(h, r)
				if e == nil || e.effect != Allow {
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
