package acl

import (
	"fmt"
	"slices"
	"strings"
)

// unreachable finds statements that never decide, because others cover them.
func (l *linter) unreachable() {
	for _, p := range l.doc.Policies {
		list := sites(p)
		dead := make(map[int]bool)
		for _, t := range list {
			dead[t.index] = l.shadowed(holder{policies: []*Policy{p}}, t, list)
		}
		for _, t := range list {
			dead[t.index] = dead[t.index] || l.redundant(t, slices.DeleteFunc(slices.Clone(list), func(s site) bool {
				return dead[s.index]
			}))
		}
		for _, t := range list {
			if !dead[t.index] && t.effect == Allow {
				l.deniedByOthers(t)
			}
		}
	}
}

// shadowed reports a statement that others of its policy decide in front of: those
// before it, and to an allow each deny.
func (l *linter) shadowed(h holder, t site, list []site) bool {
	used, ok := l.covered(t, slices.DeleteFunc(slices.Clone(list), func(s site) bool {
		return s.index == t.index || !(s.effect > t.effect || s.effect == t.effect && s.index < t.index)
	}))
	return ok && l.witnesses(h, t.statement, t.set, func(r Request) bool {
		e := l.try(h, r)
		if !e.hits(t) || e.by(t) {
			return false
		}
		if t.effect == Allow && !slices.ContainsFunc(used, func(s site) bool { return s.effect == Allow }) {
			l.report(SeverityWarning, "allow-denied", t, e,
				fmt.Sprintf("never allows anything: %s denies all of it", numbers(used)), "remove it, or narrow what is denied")
			return true
		}
		l.report(SeverityWarning, "unreachable", t, e,
			fmt.Sprintf("never decides: %s comes first, whatever is asked", numbers(used)), "remove it, or narrow what stands before it")
		return true
	})
}

// redundant reports a statement without which nothing would change.
func (l *linter) redundant(t site, list []site) bool {
	used, ok := l.covered(t, slices.DeleteFunc(list, func(s site) bool {
		return s.index == t.index || s.effect != t.effect || s.mode != t.mode
	}))
	if t.effect == Deny && ok {
		// The first deny chooses the mode. Another one may be next in line.
		ok = !slices.ContainsFunc(sites(t.policy), func(s site) bool {
			return s.effect == Deny && s.mode != t.mode && s.index > t.index && s.index < slices.MaxFunc(used, laterSite).index
		})
	}
	h := holder{policies: []*Policy{t.policy}}
	return ok && l.witnesses(h, t.statement, t.set, func(r Request) bool {
		e := l.try(h, r)
		if !e.by(t) || !slices.ContainsFunc(used, e.hits) {
			return false
		}
		l.report(SeverityNote, "redundant", t, e, "changes nothing: "+numbers(used)+" says the same of all of it", "remove it")
		return true
	})
}

// laterSite compares the places of two statements of one policy.
func laterSite(a, b site) int { return a.index - b.index }

// deniedByOthers reports an allow that other policies of each of its holders deny.
func (l *linter) deniedByOthers(t site) {
	var shown *trial
	var in holder
	for _, h := range l.of(t.policy) {
		denies := slices.DeleteFunc(sites(h.policies...), func(s site) bool { return s.effect != Deny || s.policy == t.policy })
		if _, ok := l.covered(t, denies); !ok {
			return
		}
		ok := l.witnesses(h, t.statement, t.set, func(r Request) bool {
			shown, in = l.try(h, r), h
			return shown.hits(t) && shown.effect == Deny
		})
		if !ok {
			return
		}
	}
	if shown != nil {
		l.report(SeverityWarning, "allow-denied", t, shown,
			fmt.Sprintf("never allows anything: policy %q denies all of it to all who have it, such as %s", shown.policy.name, in),
			"remove it, or take that policy from them")
	}
}

// covered reports whether others match wherever t does, together, and which of
// them that takes.
func (l *linter) covered(t site, others []site) (used []site, ok bool) {
	implied := make(map[int]bool)
	for i := range t.resources {
		rest := t.set
		for n, s := range others {
			if rest&s.set == 0 || !l.coversOne(s.statement, &t.resources[i], t.effect == Deny) {
				continue
			}
			holds, asked := implied[n]
			if !asked {
				holds = l.impliesAll(t.statement, s.statement)
				implied[n] = holds
			}
			if !holds {
				continue
			}
			if !slices.Contains(used, s) {
				used = append(used, s)
			}
			if rest &^= s.set; rest == 0 {
				break
			}
		}
		if rest != 0 {
			return nil, false
		}
	}
	return used, true
}

// coversOne reports whether one of the statement's patterns covers q.
func (l *linter) coversOne(s *statement, q *resourcePattern, unsure bool) bool {
	return slices.ContainsFunc(s.resources, func(p resourcePattern) bool {
		return l.spend(1+len(p.segments)*len(q.segments)/4) && p.covers(q, unsure)
	})
}

// impliesAll reports whether all conditions of s hold wherever those of t do.
func (l *linter) impliesAll(t, s *statement) bool {
	for i := range s.conditions {
		if !l.spend(len(t.conditions)+1) || !l.implied(&s.conditions[i], t.conditions, s.effect == Deny) {
			return false
		}
	}
	return true
}

// numbers names statements of one policy.
func numbers(list []site) string {
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprint(s.index+1))
	}
	switch n := len(out); n {
	case 1:
		return "statement " + out[0]
	default:
		return "statements " + strings.Join(out[:n-1], ", ") + " and " + out[n-1] + ", together,"
	}
}

// String names a holder.
func (h holder) String() string {
	switch {
	case h.user != "":
		return fmt.Sprintf("user %q", h.user)
	case h.role != "":
		return fmt.Sprintf("role %q", h.role)
	}
	return "whoever has it"
}
