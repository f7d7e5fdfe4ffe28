package roster

import (
	"slices"
	"strings"

	"github.com/latchkey-dev/latchkey/acl"
)

// byName reports whether any policy depends on names of users: on that of who asks,
// or on that of whom something is done to.
func byName(tx *acl.Tx) bool {
	return slices.ContainsFunc(tx.Policies(), func(p *acl.Policy) bool {
		return slices.ContainsFunc(p.Statements(), statementByName)
	})
}

func statementByName(s acl.Statement) bool {
	const attribute, variable = "connection.user", "${connection.user}"
	spells := func(text string) bool { return strings.Contains(text, variable) }
	if slices.ContainsFunc(s.Resources, spells) {
		return true
	}
	for _, c := range s.Conditions {
		if c.Attribute == attribute || slices.ContainsFunc(c.Values, spells) {
			return true
		}
	}
	return slices.ContainsFunc(s.Actions, onNames) && slices.ContainsFunc(s.Resources, someNames)
}

// onNames reports whether a pattern has actions whose resource is a user's name.
func onNames(action string) bool {
	what, _, _ := strings.Cut(action, ":")
	return slices.Contains([]string{"*", "self", "user", "key", "invite"}, what)
}

// someNames reports whether a pattern stands for some names of users, and not for
// all or none of them.
func someNames(resource string) bool {
	return strings.Trim(resource, "*") != "" && !strings.Contains(resource, "/")
}
