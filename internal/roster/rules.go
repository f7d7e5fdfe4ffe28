package roster

import (
	"fmt"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// A Role is a role of the store and its version.
type Role struct {
	acl.Role
	Version string `json:"version"`
}

// A Policy is a policy of the store, its version, and the roles that have it.
type Policy struct {
	Name    string      `json:"name"`
	Roles   []string    `json:"roles"`
	Version string      `json:"version"`
	Policy  *acl.Policy `json:"policy,omitempty"` // nil in lists
}

// Roles returns all roles whose names come after a name, in their order.
func (r *Roster) Roles(after string) (out []Role, err error) {
	err = r.Access.View(func(tx *acl.Tx) error {
		for _, role := range tx.Roles() {
			if role.Name > after {
				out = append(out, Role{role, tx.RoleVersion(role.Name)})
			}
		}
		return nil
	})
	return out, err
}

// Role returns one role.
func (r *Roster) Role(name string) (out Role, err error) {
	err = r.Access.View(func(tx *acl.Tx) error {
		out, err = findRole(tx, name)
		return err
	})
	return out, err
}

func findRole(tx *acl.Tx, name string) (Role, error) {
	role, ok := tx.Role(name)
	if !ok {
		return Role{}, fmt.Errorf("there is no role %q: %w", name, latchkey.ErrNotFound)
	}
	return Role{role, tx.RoleVersion(name)}, nil
}

// PutRole adds a role, or replaces the one of that name. One that most likely opens
// a door by mistake is a *LintError, unless the terms force it.
func (r *Roster) PutRole(a Actor, role acl.Role, t Terms) (out Role, err error) {
	d := deed{kind: acl.EventRole, action: acl.RolePut, object: role.Name, detail: "policies " + list(role.Policies) + ", includes " + list(role.Includes)}
	err = r.do(a, t, d, func(tx *acl.Tx) error {
		if _, exists := tx.Role(role.Name); exists && t.Version == Absent {
			return fmt.Errorf("role %q is there already: %w", role.Name, latchkey.ErrConflict)
		} else if exists || t.Version != Absent {
			if err := tx.CheckRoleVersion(role.Name, t.Version); err != nil {
				return err
			}
		}
		before := tx.RoleVersion(role.Name)
		if err := linted(tx, t, func() error { return tx.PutRole(role) }); err != nil {
			return err
		}
		if out, err = findRole(tx, role.Name); err != nil {
			return err
		}
		return same(tx, before, out.Version)
	})
	return out, err
}

// RemoveRole removes a role that nobody has.
func (r *Roster) RemoveRole(a Actor, name string, t Terms) error {
	d := deed{kind: acl.EventRole, action: acl.RoleRemove, object: name, detail: "removed"}
	return r.do(a, t, d, func(tx *acl.Tx) error {
		if err := tx.CheckRoleVersion(name, t.Version); err != nil {
			return err
		}
		return tx.RemoveRole(name)
	})
}

// Policies returns all policies whose names come after a name, in their order,
// without their texts.
func (r *Roster) Policies(after string) (out []Policy, err error) {
	err = r.Access.View(func(tx *acl.Tx) error {
		roles := holders(tx)
		for _, p := range tx.Policies() {
			if p.Name() > after {
				out = append(out, Policy{Name: p.Name(), Roles: roles[p.Name()], Version: tx.PolicyVersion(p.Name())})
			}
		}
		return nil
	})
	return out, err
}

// Policy returns one policy.
func (r *Roster) Policy(name string) (out Policy, err error) {
	err = r.Access.View(func(tx *acl.Tx) error {
		out, err = findPolicy(tx, name)
		return err
	})
	return out, err
}

func findPolicy(tx *acl.Tx, name string) (Policy, error) {
	p, ok := tx.Policy(name)
	if !ok {
		return Policy{}, fmt.Errorf("there is no policy %q: %w", name, latchkey.ErrNotFound)
	}
	return Policy{Name: name, Roles: holders(tx)[name], Version: tx.PolicyVersion(name), Policy: p}, nil
}

// holders names the roles that have each policy.
func holders(tx *acl.Tx) map[string][]string {
	roles := make(map[string][]string)
	for _, p := range tx.Policies() {
		roles[p.Name()] = []string{}
	}
	for _, r := range tx.Roles() {
		for _, name := range r.Policies {
			roles[name] = append(roles[name], r.Name)
		}
	}
	return roles
}

// PutPolicy adds a policy, or replaces the one of that name. One that most likely
// opens a door by mistake is a *LintError, unless the terms force it.
func (r *Roster) PutPolicy(a Actor, p *acl.Policy, t Terms) (out Policy, err error) {
	d := deed{kind: acl.EventPolicy, action: acl.PolicyPut, object: p.Name(), detail: fmt.Sprintf("%d statements", len(p.Statements()))}
	err = r.do(a, t, d, func(tx *acl.Tx) error {
		if err := unpassed(tx, p.Name(), t.Version); err != nil {
			return err
		}
		before := tx.PolicyVersion(p.Name())
		if err := linted(tx, t, func() error { return tx.PutPolicy(p) }); err != nil {
			return err
		}
		if out, err = findPolicy(tx, p.Name()); err != nil {
			return err
		}
		return same(tx, before, out.Version)
	})
	return out, err
}

// unpassed refuses the change of a policy that is there at another version.
func unpassed(tx *acl.Tx, name, version string) error {
	switch _, exists := tx.Policy(name); {
	case !exists && version == Absent:
		return nil
	case exists && version == Absent:
		return fmt.Errorf("policy %q is there already: %w", name, latchkey.ErrConflict)
	}
	return tx.CheckPolicyVersion(name, version)
}

// RemovePolicy removes a policy that no role, user or key has.
func (r *Roster) RemovePolicy(a Actor, name string, t Terms) error {
	d := deed{kind: acl.EventPolicy, action: acl.PolicyRemove, object: name, detail: "removed"}
	return r.do(a, t, d, func(tx *acl.Tx) error {
		if err := tx.CheckPolicyVersion(name, t.Version); err != nil {
			return err
		}
		return tx.RemovePolicy(name)
	})
}
