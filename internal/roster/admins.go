package roster

import (
	"time"

	"github.com/latchkey-dev/latchkey/acl"
)

// governing are what an administrator must be allowed to undo what others did.
var governing = []acl.Action{acl.UserRole, acl.RolePut, acl.PolicyPut}

// governed reports whether somebody could still put everything right from afar: a
// user with role admin and a key, neither of which expires, whose policies allow
// it at least from the device's own network. The store has a rule of its own, by
// which a user with role admin and a key is left.
func governed(tx *acl.Tx, now time.Time) bool {
	for _, u := range tx.Users() {
		if u.Role != acl.RoleAdmin || !u.Expires.IsZero() {
			continue
		}
		for _, k := range tx.Keys(u.Name) {
			if k.Expires.IsZero() && governs(tx, u, k, now) {
				return true
			}
		}
	}
	return false
}

func governs(tx *acl.Tx, u acl.User, k acl.Key, now time.Time) bool {
	var policies []*acl.Policy
	names := rolePolicies(tx, u.Role, make(map[string]bool))
	for _, name := range append(append(names, u.Policies...), k.Policies...) {
		if p, ok := tx.Policy(name); ok {
			policies = append(policies, p)
		}
	}
	for _, action := range governing {
		d := acl.Evaluate(&acl.Request{
			Peer: k.Fingerprint, User: u.Name, Role: u.Role, Action: action, Resource: acl.RoleAdmin,
			Path: acl.PathLocal, Time: now, KeyAdded: k.Added, KeyOrigin: k.Origin,
		}, policies...)
		if d.Effect != acl.Allow {
			return false
		}
	}
	return true
}

// rolePolicies returns the policies of a role and of all that it includes.
func rolePolicies(tx *acl.Tx, role string, seen map[string]bool) []string {
	r, ok := tx.Role(role)
	if !ok || seen[role] {
		return nil
	}
	seen[role] = true
	names := r.Policies
	for _, included := range r.Includes {
		names = append(names, rolePolicies(tx, included, seen)...)
	}
	return names
}
