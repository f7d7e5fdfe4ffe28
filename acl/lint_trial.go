package acl

import "slices"

// A trial is a request that was decided for a holder. A nil one was not decided,
// for want of work that is left.
type trial struct {
	*linter
	holder  holder
	request Request
	verdict
}

// try decides r for h.
func (l *linter) try(h holder, r Request) *trial {
	switch {
	case h.user != "":
		r.User, r.Role = h.user, h.role
	case h.role != "":
		r.Role = h.role
	}
	for _, p := range h.policies {
		if !l.spend(len(p.compiled)) {
			return nil
		}
	}
	return &trial{l, h, r, decide(&r, h.policies, nil)}
}

// by reports whether the statement at s made the decision.
func (e *trial) by(s site) bool {
	return e != nil && e.policy == s.policy && e.index == s.index
}

// hits reports whether the statement at s matches, whatever was decided.
func (e *trial) hits(s site) bool {
	return e != nil && s.asked(&e.request, s.effect == Deny)
}

// others reports whether any other statement of that effect matches.
func (e *trial) others(s site, effect Effect) bool {
	return slices.ContainsFunc(sites(e.holder.policies...), func(t site) bool {
		return t.statement != s.statement && t.effect == effect && e.hits(t)
	})
}

// asked reports whether s matches r. What is not known counts as unsure says.
func (s *statement) asked(r *Request, unsure bool) bool {
	segments, clean := splitResource(nil, r.Resource)
	return clean && s.ask(&question{Request: r, bit: bits[r.Action], segments: segments}, unsure) == hit
}

// show makes an example of e as a test of the document would be run, nil if that
// comes out otherwise.
func (e *trial) show() *Example {
	c := Case{Expect: ExpectRefuse, Role: e.holder.role, User: e.holder.user, Request: e.request}
	switch {
	case c.User != "":
		c.Role = ""
	case c.Role == "" || c.Role == RoleUnpaired: // as a stranger's it would be refused even so
		c.Role = ""
		for _, p := range e.holder.policies {
			c.Policies = append(c.Policies, p.name)
		}
	}
	for _, p := range e.holder.policies {
		if !e.spend(stepWork * len(p.compiled)) {
			return nil
		}
	}
	d, err := e.st.run(c)
	if err != nil || d.Effect != e.effect || e.verdict.policy != nil && (d.Policy != e.policy.name || d.Statement != e.index+1) {
		return nil
	}
	switch d.Effect {
	case Allow:
		c.Expect = ExpectAllow
	case Deny:
		c.Expect = ExpectDeny
	default:
	}
	return &Example{c, d}
}
