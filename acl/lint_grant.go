package acl

import (
	"fmt"
	"slices"
	"strings"
)

// harmless reports whether an action is no right over the device: those of pairing
// and of users on themselves.
func (a Action) harmless() bool {
	what := a.what()
	return what == "pair" || what == "token" || what == "self"
}

// powers are all actions that are not harmless.
var powers = func() (out actionSet) {
	for _, a := range known {
		if !a.harmless() {
			out |= bits[a]
		}
	}
	return out
}()

// everything finds policies that allow everything, and roles that do so with
// several. That is for administrators alone.
func (l *linter) everything() {
	reported := make(map[*Policy]bool)
	for _, p := range l.doc.Policies {
		for _, h := range l.of(p) {
			if h.role != RoleAdmin && (h.role != "" || p.name != RoleAdmin) && l.allowsAll(h, p) {
				reported[p] = true
				break
			}
		}
	}
	for _, r := range l.doc.Roles {
		policies := l.st.effective[r.Name]
		if r.Name == RoleAdmin || slices.ContainsFunc(policies, func(p *Policy) bool { return reported[p] }) {
			continue
		}
		h := holder{role: r.Name, policies: policies}
		if used, all := l.grantsAll(policies); all {
			if e := l.allowed(h, UserRole); e != nil {
				l.add(Finding{
					Severity: SeverityError, Code: "allows-everything", Role: r.Name, Example: e.show(),
					Text: fmt.Sprintf("may do everything, by %d statements of its policies", len(used)),
					Fix:  "narrow a policy, or give the role " + RoleAdmin,
				})
			}
		}
	}
}

// allowsAll reports a policy that alone allows everything to h.
func (l *linter) allowsAll(h holder, p *Policy) bool {
	used, all := l.grantsAll([]*Policy{p})
	if !all {
		return false
	}
	severity, code, text := SeverityError, "allows-everything", "allows everything"
	if slices.ContainsFunc(sites(h.policies...), func(s site) bool { return s.effect == Deny }) {
		severity, code, text = SeverityWarning, "allows-all-but", "allows everything that is not denied, also what there will be later"
	}
	if h.role == RoleUnpaired {
		severity, code, text = SeverityError, "strangers-everything", text+" to strangers"
	}
	var e *trial
	for _, a := range powers.list() {
		if !a.reads() && e == nil {
			e = l.allowed(h, a)
		}
	}
	if e == nil {
		return false
	}
	f := Finding{Severity: severity, Code: code, Policy: p.name, Example: e.show(), Text: text, Fix: "name the actions and resources that are needed"}
	if f.Statement = used[0].index + 1; len(used) > 1 {
		f.Statement = 0
		f.Text += ", by " + strings.TrimSuffix(numbers(used), ",")
	}
	if h.role != "" {
		f.Role = h.role
	}
	l.add(f)
	return true
}

// grantsAll reports whether policies allow all rights on all resources, and by
// which statements. What they deny is not looked at.
func (l *linter) grantsAll(policies []*Policy) (used []site, all bool) {
	rest := powers
	for _, s := range sites(policies...) {
		if s.effect != Allow || !l.always(s.statement) {
			continue
		}
		had := rest
		for _, a := range (s.set & rest).list() {
			if l.coversOne(s.statement, a.shape(), false) {
				rest &^= bits[a]
			}
		}
		if rest != had {
			used = append(used, s)
		}
	}
	return used, rest == 0
}

// always reports whether no condition of s ever makes a difference where the
// facts are known.
func (l *linter) always(s *statement) bool {
	return !slices.ContainsFunc(s.conditions, func(c condition) bool { return !l.implied(&c, nil, true) })
}

// allowed is an example of h being allowed an action, nil if none was found.
func (l *linter) allowed(h holder, a Action) (found *trial) {
	for _, s := range sites(h.policies...) {
		if s.effect != Allow {
			continue
		}
		if l.witnesses(h, s.statement, bits[a], func(r Request) bool {
			e := l.try(h, r)
			if e == nil || e.effect != Allow {
				return false
			}
			found = e
			return true
		}) {
			return found
		}
	}
	return nil
}

// strangers finds what peers may that are nobody yet, beside pairing.
func (l *linter) strangers() {
	h, ok := l.holding(RoleUnpaired)
	if !ok {
		return
	}
	for _, s := range sites(h.policies...) {
		_, ours := findRole(l.doc.Roles, RoleUnpaired)
		if s.effect != Allow || !ours && !slices.Contains(l.doc.Policies, s.policy) || l.has("strangers-everything", s.policy) {
			continue
		}
		var read *trial
		worst := l.witnesses(h, s.statement, s.set&powers, func(r Request) bool {
			e := l.try(h, r)
			if !e.hits(s) || e.effect != Allow {
				return false
			}
			read = e
			return !r.Action.reads()
		})
		if read == nil {
			continue
		}
		severity := SeverityWarning
		if worst {
			severity = SeverityError
		}
		l.add(Finding{
			Severity: severity, Code: "strangers-allowed", Policy: s.policy.name, Statement: s.index + 1, Role: RoleUnpaired, Example: read.show(),
			Text: fmt.Sprintf("lets everybody who can reach the device do this, paired or not: %s", read.action()),
			Fix:  "give strangers pairing and token login alone",
		})
	}
}

// action names what is asked.
func (e *trial) action() string {
	return fmt.Sprintf("%s on %s", e.request.Action, e.request.Resource)
}

// holding returns the holder that is a role.
func (l *linter) holding(role string) (holder, bool) {
	for _, h := range l.holders {
		if h.role == role && h.user == "" {
			return h, true
		}
	}
	return holder{}, false
}

// has reports whether there is such a finding about a policy.
func (l *linter) has(code string, p *Policy) bool {
	return slices.ContainsFunc(l.found, func(f Finding) bool { return f.Code == code && f.Policy == p.name })
}
