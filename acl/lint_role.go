package acl

import (
	"fmt"
	"slices"
)

// roles finds what a role has twice.
func (l *linter) roles() {
	for _, r := range l.doc.Roles {
		if l.st.effective[r.Name] == nil {
			continue // Resolve says why
		}
		for _, name := range r.Includes {
			for _, other := range r.Includes {
				if other != name && slices.Contains(l.inherited(other, nil), name) {
					l.twice(r, "role-included-twice", fmt.Sprintf("includes %q, and so does %q, which it includes too", name, other),
						fmt.Sprintf("include %q alone", other), l.st.effective[name])
				}
			}
		}
		for _, name := range r.Policies {
			for _, other := range l.inherited(r.Name, nil)[1:] {
				if role := l.st.roles[other]; slices.Contains(role.Policies, name) {
					l.twice(r, "policy-held-twice", fmt.Sprintf("has policy %q, and has it from role %q, which it includes", name, other),
						"leave it out here", []*Policy{l.st.policies[name]})
					break
				}
			}
		}
	}
}

// inherited are the names of a role and of all that it includes, each once.
func (l *linter) inherited(name string, seen []string) []string {
	r := l.st.roles[name]
	if r == nil || slices.Contains(seen, name) {
		return seen
	}
	seen = append(seen, name)
	for _, other := range r.Includes {
		seen = l.inherited(other, seen)
	}
	return seen
}

// twice reports a role. Its example is decided by one of policies.
func (l *linter) twice(r Role, code, text, fix string, policies []*Policy) {
	h := holder{role: r.Name, policies: l.st.effective[r.Name]}
	for _, s := range sites(policies...) {
		found := l.witnesses(h, s.statement, s.set, func(q Request) bool {
			e := l.try(h, q)
			if !e.hits(s) {
				return false
			}
			l.add(Finding{Severity: SeverityNote, Code: code, Role: r.Name, Text: text, Fix: fix, Example: e.show()})
			return true
		})
		if found {
			return
		}
	}
}

// idleDenies notes denies of what those who have them are not allowed anyway.
func (l *linter) idleDenies() {
	for _, p := range l.doc.Policies {
		for _, s := range sites(p) {
			if s.effect == Deny && s.mode == Respond && !slices.ContainsFunc(l.found, func(f Finding) bool {
				return f.Policy == p.name && f.Statement == s.index+1
			}) {
				l.idle(s)
			}
		}
	}
}

func (l *linter) idle(s site) {
	var shown *trial
	for _, h := range l.of(s.policy) {
		if h.role == "" || h.user != "" || slices.ContainsFunc(sites(h.policies...), func(t site) bool {
			return t.effect == Allow && l.overlap(s.statement, t.statement)
		}) {
			return
		}
		ok := l.witnesses(h, s.statement, s.set, func(r Request) bool {
			shown = l.try(h, r)
			return shown.by(s) && !shown.others(s, Allow)
		})
		if !ok {
			return
		}
	}
	if shown != nil {
		l.report(SeverityNote, "deny-without-allow", s, shown,
			"denies what nobody who has the policy is allowed", "remove it, unless users or keys get policies of their own that allow it")
	}
}

// overlap reports whether a request may match both statements.
func (l *linter) overlap(s, t *statement) bool {
	both := statement{conditions: slices.Concat(s.conditions, t.conditions)}
	if s.set&t.set == 0 || slices.ContainsFunc(both.byAttribute(), l.contradict) {
		return false
	}
	for i := range s.resources {
		for j := range t.resources {
			p, q := &s.resources[i], &t.resources[j]
			if !l.spend(1 + len(p.segments)*len(q.segments)) {
				return true
			}
			if _, ok := p.meet(q); ok {
				return true
			}
		}
	}
	return false
}
