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
	for _, r := range d.Roles {
		for _, name := range r.Policies {
			if findPolicy(all.Policies, name) == nil {
				return d.at(place{r.Name, policyOfRole, name}, mistake("role %q: there is no policy %q", r.Name, name))
			}
		}
		for _, name := range d.includes(r) {
			if _, ok := findRole(all.Roles, name); !ok {
				return d.at(place{r.Name, roleOfRole, name}, mistake("role %q: there is no role %q to include", r.Name, name))
			}
		}
	}
	return d.checkCycles(func(name string) (Role, bool) { return findRole(all.Roles, name) })
}

// checkCycles refuses roles of the document that include themselves, by way of
// the roles that find knows.
func (d *Document) checkCycles(find func(name string) (Role, bool)) error {
	done := make(map[string]bool)
	for _, r := range d.Roles {
		if err := d.checkCycle(r, nil, done, find); err != nil {
			return err
		}
	}
	return nil
}

// checkCycle follows what r includes; path is how it was come by.
func (d *Document) checkCycle(r Role, path []string, done map[string]bool, find func(string) (Role, bool)) error {
	if done[r.Name] {
		return nil
	}
	path = append(path, r.Name)
	for _, name := range d.includes(r) {
		if i := slices.Index(path, name); i >= 0 {
			circle := strings.Join(append(path[i:], name), " > ")
			return d.at(place{r.Name, roleOfRole, name}, mistake("role %q includes itself: %s", name, circle))
		}
		if next, ok := find(name); ok {
			if err := d.checkCycle(next, path, done, find); err != nil {
				return err
			}
		}
	}
	done[r.Name] = true
	return nil
}

// policiesOf returns the policies of a role and of all that it includes, each
// once.
func (all Rules) policiesOf(role string, includes func(Role) []string) ([]*Policy, error) {
	var out []*Policy
	seen := make(map[string]bool)
	for todo := []string{role}; len(todo) > 0; todo = todo[1:] {
		if seen[todo[0]] {
			continue
		}
		seen[todo[0]] = true
		r, ok := findRole(all.Roles, todo[0])
		if !ok {
			return nil, mistake("there is no role %q", todo[0])
		}
		more, err := all.policies(r.Policies)
		if err != nil {
			return nil, err
		}
		for _, p := range more {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
		todo = append(todo, includes(r)...)
	}
	return out, nil
}

// policies returns the policies of those names.
func (all Rules) policies(names []string) ([]*Policy, error) {
	var out []*Policy
	for _, name := range names {
		p := findPolicy(all.Policies, name)
		if p == nil {
			return nil, mistake("there is no policy %q", name)
		}
		out = append(out, p)
	}
	return out, nil
}
