package acl

import (
	"fmt"
	"maps"
	"slices"

	"github.com/latchkey-dev/latchkey"
)

// A state is everything that a store holds, decoded. Once it is published it
// never changes, and neither do the records that its maps point to: a change
// makes a clone and puts new records into it. So readers need no lock.
type state struct {
	users    map[string]*User
	folded   map[string]string // foldName of each user to its name
	keys     map[latchkey.Fingerprint]*Key
	roles    map[string]*Role
	policies map[string]*Policy
	settings map[string]string
	invites  map[string]*Invite
	revoked  map[latchkey.Fingerprint]revocation

	// effective are the policies of each role with those of the roles that it
	// includes; see resolve.
	effective map[string][]*Policy

	generation uint64 // of the last change in here
	anchor     Anchor // as the file had it when it was opened; later ones are in Store.anchor
}

func newState() *state {
	return &state{
		users:    make(map[string]*User),
		folded:   make(map[string]string),
		keys:     make(map[latchkey.Fingerprint]*Key),
		roles:    make(map[string]*Role),
		policies: make(map[string]*Policy),
		settings: make(map[string]string),
		invites:  make(map[string]*Invite),
		revoked:  make(map[latchkey.Fingerprint]revocation),
	}
}

func (st *state) clone() *state {
	return &state{
		users:      maps.Clone(st.users),
		folded:     maps.Clone(st.folded),
		keys:       maps.Clone(st.keys),
		roles:      maps.Clone(st.roles),
		policies:   maps.Clone(st.policies),
		settings:   maps.Clone(st.settings),
		invites:    maps.Clone(st.invites),
		revoked:    maps.Clone(st.revoked),
		generation: st.generation,
	}
}

func (st *state) putUser(u *User) {
	st.users[u.Name], st.folded[foldName(u.Name)] = u, u.Name
}

func (st *state) dropUser(name string) {
	delete(st.users, name)
	delete(st.folded, foldName(name))
}

// holder names somebody who has a policy, "" if nobody does.
func (st *state) holder(policy string) string {
	for _, r := range st.roles {
		if slices.Contains(r.Policies, policy) {
			return fmt.Sprintf("role %q", r.Name)
		}
	}
	for _, u := range st.users {
		if slices.Contains(u.Policies, policy) {
			return fmt.Sprintf("user %q", u.Name)
		}
	}
	for _, k := range st.keys {
		if slices.Contains(k.Policies, policy) {
			return fmt.Sprintf("a key of user %q", k.User)
		}
	}
	return ""
}

// bearer names somebody who has a role, "" if nobody does.
func (st *state) bearer(role string) string {
	for _, u := range st.users {
		if u.Role == role {
			return fmt.Sprintf("user %q", u.Name)
		}
	}
	for _, r := range st.roles {
		if slices.Contains(r.Includes, role) {
			return fmt.Sprintf("role %q", r.Name)
		}
	}
	for _, i := range st.invites {
		if i.Role == role {
			return fmt.Sprintf("the invitation of %q", i.User)
		}
	}
	return ""
}

// administrators counts the users with role admin who hold a key.
func (st *state) administrators() int {
	holders := make(map[string]bool)
	for _, k := range st.keys {
		if u := st.users[k.User]; u != nil && u.Role == RoleAdmin {
			holders[u.Name] = true
		}
	}
	return len(holders)
}

// check refuses a state in which a reference leads nowhere (latchkey.ErrNotFound)
// or a limit is passed (latchkey.ErrTooMany).
func (st *state) check() error {
	for _, limit := range []struct {
		what   string
		n, max int
	}{
		{"users", len(st.users), MaxUsers},
		{"keys", len(st.keys), MaxKeys},
		{"roles", len(st.roles), MaxRoles},
		{"policies", len(st.policies), MaxPolicies},
		{"settings", len(st.settings), MaxSettings},
		{"invitations", len(st.invites), MaxInvites},
	} {
		if limit.n > limit.max {
			return fmt.Errorf("%d %s, %d are the most: %w", limit.n, limit.what, limit.max, latchkey.ErrTooMany)
		}
	}
	for _, name := range builtIn {
		if st.roles[name] == nil {
			return fmt.Errorf("role %q: %w", name, latchkey.ErrNotFound)
		}
	}
	for _, r := range st.roles {
		if err := st.checkAttached("role", r.Name, r.Policies); err != nil {
			return err
		}
	}
	if err := st.resolve(); err != nil {
		return err
	}
	for _, i := range st.invites {
		if st.roles[i.Role] == nil {
			return fmt.Errorf("the invitation of %q has role %q: %w", i.User, i.Role, latchkey.ErrNotFound)
		}
	}
	for _, u := range st.users {
		if st.roles[u.Role] == nil {
			return fmt.Errorf("user %q has role %q: %w", u.Name, u.Role, latchkey.ErrNotFound)
		}
		if err := st.checkAttached("user", u.Name, u.Policies); err != nil {
			return err
		}
	}
	return st.checkKeys()
}

func (st *state) checkKeys() error {
	owned := make(map[string]int)
	for _, k := range st.keys {
		if st.users[k.User] == nil {
			return fmt.Errorf("key %s belongs to user %q: %w", k.Fingerprint, k.User, latchkey.ErrNotFound)
		}
		if owned[k.User]++; owned[k.User] > MaxKeysPerUser {
			return fmt.Errorf("user %q has more than %d keys: %w", k.User, MaxKeysPerUser, latchkey.ErrTooMany)
		}
		if err := st.checkAttached("key", k.User+"/"+k.Name, k.Policies); err != nil {
			return err
		}
	}
	return nil
}

// checkAttached checks the policies that a role, user or key has.
func (st *state) checkAttached(what, name string, policies []string) error {
	if len(policies) > MaxAttached {
		return fmt.Errorf("%s %q has %d policies, %d are the most: %w", what, name, len(policies), MaxAttached, latchkey.ErrTooMany)
	}
	for i, p := range policies {
		if st.policies[p] == nil {
			return fmt.Errorf("%s %q has policy %q: %w", what, name, p, latchkey.ErrNotFound)
		}
		if slices.Contains(policies[:i], p) {
			return fmt.Errorf("%s %q has policy %q twice: %w", what, name, p, latchkey.ErrConflict)
		}
	}
	return nil
}
