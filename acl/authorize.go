package acl

import (
	"context"
	"fmt"
	"strings"

	"github.com/latchkey-dev/latchkey"
)

// Lookup says whose key fp is, false for a stranger's. A key whose removal could
// not be written yet is a stranger's.
func (s *Store) Lookup(fp latchkey.Fingerprint) (Subject, bool) {
	now := s.now.Load()
	k := now.keys[fp]
	if k == nil {
		return Subject{}, false
	}
	subject := now.subject(k)
	if now.wished != nil {
		then := now.wished.keys[fp]
		if then == nil || now.wished.users[then.User] == nil {
			return Subject{}, false
		}
		subject.Expires = earlier(subject.Expires, now.wished.subject(then).Expires)
	}
	return subject, true
}

// Authorize decides r by the policies of the peer's role, of the user and of the
// key; for a key that belongs to nobody by those of its token's role, within the
// token's scope and until it expires. It returns nil, or an error that is
// latchkey.ErrUnpaired for peers whose key belongs to nobody and who bring no
// token, latchkey.ErrTokenExpired for those whose token has expired, and
// latchkey.ErrForbidden for all others. Strangers may pair:* and token:login at
// most, whatever policies role unpaired has.
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
	known   bool   // the peer is a user or brings a token, no stranger
	refused string // why policies were not asked at all
	expired bool   // because the token has expired
	held    bool   // refused by a change that is not on disk yet
}

func (j judgement) reason() string {
	text := j.refused
	if text == "" {
		text = j.verdict.reason()
	}
	if j.held {
		return "by a change that is not on disk yet: " + text
	}
	return text
}

// refuse makes j a refusal without a policy.
func (j judgement) refuse(format string, args ...any) judgement {
	j.refused = fmt.Sprintf(format, args...)
	return j
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
	j := now.state.judge(r, trace, true)
	if now.wished == nil || j.effect != Allow {
		return j
	}
	var again []Step
	steps := &again
	if trace == nil {
		steps = nil
	}
	held := now.wished.judge(r, steps, false)
	if held.effect == Allow {
		return j
	}
	if trace != nil {
		*trace = again
	}
	held.held = true
	return held
}

// judge decides r on one state. fresh demands that the user and role that r names
// are those of the key in this state.
func (st *state) judge(r *Request, trace *[]Step, fresh bool) judgement {
	var j judgement
	facts := *r
	var buf [MaxInherited + 2*MaxAttached]*Policy
	policies := buf[:0]
	var whole bool
	k := st.keys[r.Peer]
	switch {
	case k != nil && st.users[k.User] == nil: // only where wishes contradict each other
		j.known = true
		return j.refuse("there is no user %q", k.User)
	case k != nil:
		j.subject, j.known = st.subject(k), true
		if j.refused = stale(r, j.subject, fresh); j.refused != "" {
			return j
		}
		facts.KeyAdded, facts.KeyOrigin = k.Added, k.Origin
		policies, whole = st.held(policies, j.subject.Role, st.users[k.User].Policies, k.Policies)
	case r.Token != nil && r.Action != TokenLogin: // a fresh token may follow an old one
		j = st.token(r)
		policies, whole = st.held(policies, j.subject.Role)
	case trace != nil && r.Peer.IsZero() && (r.User != "" || r.Role != ""):
		var own []string
		j, own = st.hypothesis(r)
		policies, whole = st.held(policies, j.subject.Role, own)
	default:
		j.subject.Role = RoleUnpaired
		policies, whole = st.held(policies, RoleUnpaired)
	}
	if j.refused != "" {
		return j
	}
	if !whole {
		return j.refuse("a role or policy of the peer is not there")
	}
	facts.User, facts.Role = j.subject.User, j.subject.Role
	j.verdict = decide(&facts, policies, trace)
	if j.effect == Allow && !j.subject.may(r.Action) {
		j.verdict = verdict{}
		return j.refuse("%s", strangersOnly)
	}
	return j
}

// strangersOnly is why strangers are refused what a policy allows them.
const strangersOnly = "strangers may pair and show a token, nothing else, whatever their policies allow"

// may reports whether policies can allow an action to s. What everybody may who
// finds the device is not left to a slip in a policy.
func (s Subject) may(a Action) bool {
	return s.Role != RoleUnpaired || strings.HasPrefix(string(a), "pair:") || a == TokenLogin
}

// stale says why a request must be refused before any policy is asked.
func stale(r *Request, subject Subject, fresh bool) string {
	if fresh && (r.User != "" && r.User != subject.User || r.Role != "" && r.Role != subject.Role) {
		return "the request names another user or role than the key has now"
	}
	reason := over("access", subject.Expires, r.Time)
	if reason != "" && strings.HasPrefix(string(r.Action), "pair:") {
		reason += "; pairing does not bring it back: give it more time, or remove the key first"
	}
	return reason
}

// token finds out what the token of a request entitles to. Who brings one is its
// role, whatever else the request says.
func (st *state) token(r *Request) judgement {
	t := r.Token
	j := judgement{known: true, subject: Subject{Role: t.Role, Expires: t.Expires}}
	j.refused, j.expired = t.bounds(r)
	if j.refused == "" && (t.Role == RoleUnpaired || st.roles[t.Role] == nil) {
		return j.refuse("there is no role %q for a token", t.Role)
	}
	return j
}

// hypothesis finds out who is meant by a request without a key, and which
// policies it has beside those of its role.
func (st *state) hypothesis(r *Request) (j judgement, own []string) {
	j = judgement{known: true, subject: Subject{Role: r.Role}}
	if r.User != "" {
		u := st.users[r.User]
		if u == nil {
			return j.refuse("there is no user %q", r.User), nil
		}
		own = u.Policies
		j.subject = Subject{User: u.Name, Role: u.Role, Expires: u.Expires}
		j.refused = stale(r, j.subject, true)
	}
	if j.refused == "" && st.roles[j.subject.Role] == nil {
		j.refused = fmt.Sprintf("there is no role %q", j.subject.Role)
	}
	return j, own
}

// held appends the policies of a role and those of that name. It reports whether
// all are there; state.check saw to it, but a state with wishes may lack some.
func (st *state) held(policies []*Policy, role string, lists ...[]string) ([]*Policy, bool) {
	inherited, whole := st.effective[role]
	policies = append(policies, inherited...)
	for _, names := range lists {
		var ok bool
		policies, ok = st.named(policies, names)
		whole = whole && ok
	}
	return policies, whole
}

// subject says who holds k.
func (st *state) subject(k *Key) Subject {
	u := st.users[k.User]
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
	switch {
	case r.expired:
		return latchkey.ErrTokenExpired
	case r.known:
		return latchkey.ErrForbidden
	}
	return latchkey.ErrUnpaired
}

// Mode makes ModeOf find how the statement that denied wants the peer treated.
func (r *refusal) Mode() Mode { return r.mode() }
