package acl

import (
	"fmt"
	"strings"
)

// promoting are the actions with which anybody can give rights that the device
// does not compare with their own.
var promoting = []Action{UserRole, UserPolicies, UserCreate, InviteCreate, KeyAdd, KeyChange, RolePut, PolicyPut}

// promotes finds what lets those who are no administrators become that.
func (l *linter) promotes() {
	for _, p := range l.doc.Policies {
		if l.has("allows-everything", p) || l.has("allows-all-but", p) || l.has("strangers-everything", p) {
			continue
		}
		for _, s := range sites(p) {
			if s.effect == Allow {
				l.promotesBy(s)
			}
		}
	}
}

func (l *linter) promotesBy(s site) {
	for _, h := range l.of(s.policy) {
		if h.role == RoleAdmin || h.role == "" && s.policy.name == RoleAdmin {
			continue
		}
		var shown *trial
		var names []string
		for _, a := range promoting {
			if s.set&bits[a] != 0 && l.witnesses(h, s.statement, bits[a], func(r Request) bool {
				e := l.try(h, r)
				if !e.hits(s) || e.effect != Allow || !l.gains(&e.request) {
					return false
				}
				if shown == nil {
					shown = e
				}
				return true
			}) {
				names = append(names, string(a))
			}
		}
		if shown != nil {
			l.report(SeverityError, "becomes-admin", s, shown,
				fmt.Sprintf("lets %s make itself an administrator, with %s", h, strings.Join(names, ", ")),
				"leave this to administrators; users need none of it to manage themselves")
			return
		}
	}
}

// gains reports whether an action of promoting can bring more rights to who asks.
// A key of one's own does not, nor one of somebody who has no more.
func (l *linter) gains(r *Request) bool {
	if r.Action != KeyAdd {
		return true
	}
	u := l.st.users[r.Resource]
	return r.Resource != r.User && (u == nil || u.Role == RoleAdmin)
}
