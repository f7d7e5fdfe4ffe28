package acl

import (
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// Bounds returns nil if r keeps within what holds whoever decides: the ends that
// were set to the peer's access, and the end and scope of its token. Otherwise it
// is latchkey.ErrTokenExpired or latchkey.ErrForbidden, and no hook needs to be
// asked.
func Bounds(r *Request) error {
	if reason := over("access", r.Expires, r.Time); reason != "" {
		return fmt.Errorf("%w: %s", latchkey.ErrForbidden, reason)
	}
	if r.Token == nil || r.Action == TokenLogin { // a fresh token may follow an old one
		return nil
	}
	reason, expired := r.Token.bounds(r)
	switch {
	case expired:
		return fmt.Errorf("%w: %s", latchkey.ErrTokenExpired, reason)
	case reason != "":
		return fmt.Errorf("%w: %s", latchkey.ErrForbidden, reason)
	}
	return nil
}

// bounds says why t does not cover r, "" if it does.
func (t *Token) bounds(r *Request) (reason string, expired bool) {
	switch reason := over("token", t.Expires, r.Time); {
	case t.Expires.IsZero():
		return "the token has no end", false
	case reason != "":
		return reason, !r.Time.IsZero()
	case t.Scope != nil && !inScope(t.Scope, r.Action):
		return "the token is not for this action", false
	}
	return "", false
}

// over says why something with an end does not hold at the time now.
func over(what string, end, now time.Time) string {
	switch {
	case end.IsZero():
		return ""
	case now.IsZero():
		return "the " + what + " ends at a set time, and the clock is not known"
	case !now.Before(end):
		return "the " + what + " has expired"
	}
	return ""
}

// inScope reports whether a pattern names a.
func inScope(scope []string, a Action) bool {
	for _, text := range scope {
		if p, err := compileAction(text); err == nil && p.matches(a) {
			return true
		}
	}
	return false
}
