package acl

import (
	"context"
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// Lookup says whose key fp is, false for a stranger's.
func (s *Store) Lookup(fp latchkey.Fingerprint) (Subject, bool) {
	now := s.now.Load()
	k := now.keys[fp]
	if k == nil || now.held[fp] {
		return Subject{}, false
	}
	return now.subject(k), true
}

// Authorize decides r by the policies of the peer's role, of the user and of the
// key. It returns nil, or an error that is latchkey.ErrUnpaired for peers whose
// key belongs to nobody and latchkey.ErrForbidden for all others.
//
// Who the peer is comes from r.Peer and the present state alone. Where r.User or
// r.Role say something else they are out of date, and the request is refused.
// r is not changed. Authorize never blocks; its first parameter makes it fit
// for a hook.
func (s *Store) Authorize(_ context.Context, r *Request) error {
	j := judge(s.now.Load(), r, nil)
	if j.effect == Allow {
		return nil
	}
	return &refusal{j}
}

// Explain decides r as Authorize does and says why. A request without Peer is
// decided for r.User, or without that for r.Role, as if a key of theirs without
// policies of its own had asked.
func (s *Store) Explain(r *Request) Decision {
	trace := []Step{}
	j := judge(s.now.Load(), r, &trace)
	d := j.decision(trace)
	d.Reason, d.Subject = j.reason(), j.subject
	return d
}

// A judgement is a verdict and who it is about.
type judgement struct {
	verdict
	subject Subject
	known   bool   // the peer is a user, not a stranger
	refused string // why policies were not asked at all
}

func (j judgement) reason() string {
	if j.refused != "" {
		return j.refused
	}
	return j.verdict.reason()
}

// judge decides r on one snapshot. With a trace, a request without Peer is
// decided for the user or role that it names.
func judge(now *snapshot, r *Request, trace *[]Step) judgement {
	if r == nil {
		return judgement{refused: "there is no request"}
	}
	if now.closed {
		return judgement{known: true, refused: "the access database is closed"}
	}
	var j judgement
	facts := *r
	var buf [3 * MaxAttached]*Policy
	policies := buf[:0]
	k := now.keys[r.Peer]
	switch {
	case k != nil && !now.held[r.Peer]:
		j.subject, j.known = now.subject(k), true
		j.refused = stale(r, j.subject)
		facts.KeyAdded, facts.KeyOrigin = k.Added, k.Origin
		policies = now.attached(policies, now.roles[j.subject.Role].Policies)
		policies = now.attached(policies, now.users[k.User].Policies)
		policies = now.attached(policies, k.Policies)
	case trace != nil && r.Peer.IsZero() && (r.User != "" || r.Role != ""):
		j, policies = now.hypothesis(r, policies)
	default:
		j.subject.Role = RoleUnpaired
		policies = now.attached(policies, now.roles[RoleUnpaired].Policies)
	}
	if j.refused != "" {
		return j
	}
	facts.User, facts.Role = j.subject.User, j.subject.Role
	j.verdict = decide(&facts, policies, trace)
	return j
}

// stale says why a request must be refused before any policy is asked.
func stale(r *Request, subject Subject) string {
	switch {
	case r.User != "" && r.User != subject.User, r.Role != "" && r.Role != subject.Role:
		return "the request names another user or role than the key has now"
	case subject.Expires.IsZero():
		return ""
	case r.Time.IsZero():
		return "the access ends at a set time, and the clock is not known"
	case !r.Time.Before(subject.Expires):
		return "the access has expired"
	}
	return ""
}

// hypothesis finds out who is meant by a request without a key.
func (now *snapshot) hypothesis(r *Request, policies []*Policy) (judgement, []*Policy) {
	j := judgement{known: true, subject: Subject{Role: r.Role}}
	var own []string
	if r.User != "" {
		u := now.users[r.User]
		if u == nil {
			j.refused = fmt.Sprintf("there is no user %q", r.User)
			return j, policies
		}
		own = u.Policies
		j.subject = Subject{User: u.Name, Role: u.Role, Expires: u.Expires}
		j.refused = stale(r, j.subject)
	}
	role := now.roles[j.subject.Role]
	if role == nil {
		j.refused = fmt.Sprintf("there is no role %q", j.subject.Role)
		return j, policies
	}
	return j, now.attached(now.attached(policies, role.Policies), own)
}

// attached appends the policies of those names. state.check saw to it that each
// exists.
func (now *snapshot) attached(policies []*Policy, names []string) []*Policy {
	for _, name := range names {
		policies = append(policies, now.policies[name])
	}
	return policies
}

// subject says who holds k.
func (now *snapshot) subject(k *Key) Subject {
	u := now.users[k.User]
	return Subject{
		User: u.Name, Role: u.Role, KeyName: k.Name, Added: k.Added, Origin: k.Origin,
		Expires: earlier(k.Expires, u.Expires),
	}
}

// A refusal is the error of Authorize. Its text is for the log; peers learn only
// the code of what it unwraps to.
type refusal struct{ judgement }

// Error gives the reason.
func (r *refusal) Error() string { return r.Unwrap().Error() + ": " + r.reason() }

// Unwrap makes errors.Is and latchkey.CodeOf find the sentinel.
func (r *refusal) Unwrap() error {
	if r.known {
		return latchkey.ErrForbidden
	}
	return latchkey.ErrUnpaired
}
