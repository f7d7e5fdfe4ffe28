package acl

import (
	"slices"
	"strings"
)

// Rules are what a document adds to: policies, roles and users.
type Rules struct {
	Policies []*Policy
	Roles    []Role
	Users    []User
}

// DefaultRules are those of a store that was just created.
func DefaultRules() Rules {
	var out Rules
	for _, name := range builtIn {
		p, err := NewPolicy(name, defaultPolicies()[name]...)
		if err != nil {
			panic(err) // only if defaults.go were wrong, and then no store could be created
		}
		out.Policies = append(out.Policies, p)
		out.Roles = append(out.Roles, defaultRole(name))
	}
	return out
}

// defaultRole is a built-in role as a new store has it.
func defaultRole(name string) Role {
	if name == RoleUser {
		return Role{Name: name, Policies: []string{RoleGuest, RoleUser}}
	}
	return Role{Name: name, Policies: []string{name}}
}

// Rules returns what the store has now.
func (s *Store) Rules() (Rules, error) {
	var out Rules
	err := s.View(func(tx *Tx) error {
		out = Rules{tx.Policies(), tx.Roles(), tx.Users()}
		return nil
	})
	return out, err
}

// with returns base with the policies and roles of d in the place of those that
// have the same names.
func (base Rules) with(d *Document) Rules {
	out := Rules{slices.Clone(d.Policies), slices.Clone(d.Roles), base.Users}
	for _, p := range base.Policies {
		if findPolicy(d.Policies, p.name) == nil {
			out.Policies = append(out.Policies, p)
		}
	}
	for _, r := range base.Roles {
		if _, replaced := findRole(d.Roles, r.Name); !replaced {
			out.Roles = append(out.Roles, r)
		}
	}
	return out
}

func findPolicy(policies []*Policy, name string) *Policy {
	for _, p := range policies {
		if p.name == name {
			return p
		}
	}
	return nil
}

// Resolve reports whether all that the document's roles refer to is in the
// document or in base, and no role includes itself. Its error is a
// *PositionError if the document was parsed.
func (d *Document) Resolve(base Rules) error {
	all := base.with(d)
	st := all.state()
	for _, r := range d.Roles {
		for _, name := range r.Policies {
			if st.policies[name] == nil {
				return d.at(place{role: r.Name, kind: policyOfRole, name: name}, mistake("role %q: there is no policy %q", r.Name, name))
			}
		}
		for _, name := range r.Includes {
			if st.roles[name] == nil {
				return d.at(place{role: r.Name, kind: roleOfRole, name: name}, mistake("role %q: there is no role %q to include", r.Name, name))
			}
		}
	}
	if err := d.checkCycles(all.Roles); err != nil {
		return err
	}
	for _, r := range d.Roles {
		if _, err := st.flatten(r.Name, nil); err != nil {
			return d.at(place{role: r.Name}, err)
		}
	}
	return nil
}

// checkCycles refuses roles of the document that include themselves, by way of
// any of roles.
func (d *Document) checkCycles(roles []Role) error {
	done := make(map[string]bool)
	for _, r := range d.Roles {
		if err := d.checkCycle(r, nil, done, roles); err != nil {
			return err
		}
	}
	return nil
}

// checkCycle follows what r includes; path is how it was come by.
func (d *Document) checkCycle(r Role, path []string, done map[string]bool, roles []Role) error {
	if done[r.Name] {
		return nil
	}
	path = append(path, r.Name)
	for _, name := range r.Includes {
		if i := slices.Index(path, name); i >= 0 {
			circle := strings.Join(append(path[i:], name), " includes ")
			at := place{role: r.Name, kind: roleOfRole, name: name}
			if _, ours := d.places[at]; !ours {
				at = place{role: path[0]} // closed by a role of the store
			}
			return d.at(at, mistake("roles in a circle: %s", circle))
		}
		if next, ok := findRole(roles, name); ok {
			if err := d.checkCycle(next, path, done, roles); err != nil {
				return err
			}
		}
	}
	done[r.Name] = true
	return nil
}

// state returns what a store with these rules would hold, unchecked.
func (base Rules) state() *state {
	st := newState()
	st.effective = make(map[string][]*Policy)
	for _, p := range base.Policies {
		st.policies[p.name] = p
	}
	for i := range base.Roles {
		st.roles[base.Roles[i].Name] = &base.Roles[i]
	}
	for i := range base.Users {
		st.putUser(&base.Users[i])
	}
	return st
}
