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
				out = append(out, Role{role, version(role)})
			}
		}
		return nil
	})
	return out, err
}

// Role returns one role.
func (r *Roster) Role(name string) (out Role, err error) {
	err = r.Access.View(func(tx *acl.Tx) error {
		role, ok := tx.Role(name)
		if !ok {
			return fmt.Errorf("there is no role %q: %w", name, latchkey.ErrNotFound)
		}
		out = Role{role, version(role)}
		return nil
	})
	return out, err
}

// PutRole adds a role, or replaces the one of that name.
func (r *Roster) PutRole(a Actor, role acl.Role, t Terms) (Role, error) {
	d := deed{kind: acl.EventRole, action: acl.RolePut, object: role.Name, detail: "policies " + list(role.Policies)}
	err := r.do(a, t, d, func(tx *acl.Tx) error {
		if err := t.check("role", role.Name, roleVersion(tx, role.Name)); err != nil {
			return err
		}
		if err := tx.PutRole(role); err != nil {
			return err
		}
		return nil
	})
	if err != nil {
		return Role{}, err
	}
	return Role{role, version(role)}, nil
}

// RemoveRole removes a role that nobody has.
func (r *Roster) RemoveRole(a Actor, name string, t Terms) error {
	d := deed{kind: acl.EventRole, action: acl.RoleRemove, object: name, detail: "removed"}
	return r.do(a, t, d, func(tx *acl.Tx) error {
		if err := t.check("role", name, roleVersion(tx, name)); err != nil {
			return err
		}
		return tx.RemoveRole(name)
	})
}

// roleVersion is "" for a role that is not there.
func roleVersion(tx *acl.Tx, name string) string {
	if role, ok := tx.Role(name); ok {
		return version(role)
	}
	return ""
}

// Policies returns all policies whose names come after a name, in their order,
// without their texts.
func (r *Roster) Policies(after string) (out []Policy, err error) {
	err = r.Access.View(func(tx *acl.Tx) error {
		roles := holders(tx)
		for _, p := range tx.Policies() {
			if p.Name() > after {
				out = append(out, Policy{Name: p.Name(), Roles: roles[p.Name()], Version: version(p)})
			}
		}
		return nil
	})
	return out, err
}

// Policy returns one policy.
func (r *Roster) Policy(name string) (out Policy, err error) {
	err = r.Access.View(func(tx *acl.Tx) error {
		p, ok := tx.Policy(name)
		if !ok {
			return fmt.Errorf("there is no policy %q: %w", name, latchkey.ErrNotFound)
		}
		out = Policy{Name: name, Roles: holders(tx)[name], Version: version(p), Policy: p}
		return nil
	})
	return out, err
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

// PutPolicy adds a policy, or replaces the one of that name.
func (r *Roster) PutPolicy(a Actor, p *acl.Policy, t Terms) (Policy, error) {
	d := deed{kind: acl.EventPolicy, action: acl.PolicyPut, object: p.Name(), detail: fmt.Sprintf("%d statements", len(p.Statements()))}
	out := Policy{Name: p.Name(), Version: version(p), Policy: p}
	err := r.do(a, t, d, func(tx *acl.Tx) error {
		if err := t.check("policy", p.Name(), policyVersion(tx, p.Name())); err != nil {
			return err
		}
		if err := tx.PutPolicy(p); err != nil {
			return err
		}
		out.Roles = holders(tx)[p.Name()]
		return nil
	})
	if err != nil {
		return Policy{}, err
	}
	return out, nil
}

// RemovePolicy removes a policy that no role, user or key has.
func (r *Roster) RemovePolicy(a Actor, name string, t Terms) error {
	d := deed{kind: acl.EventPolicy, action: acl.PolicyRemove, object: name, detail: "removed"}
	return r.do(a, t, d, func(tx *acl.Tx) error {
		if err := t.check("policy", name, policyVersion(tx, name)); err != nil {
			return err
		}
		return tx.RemovePolicy(name)
	})
}

// policyVersion is "" for a policy that is not there.
func policyVersion(tx *acl.Tx, name string) string {
	if p, ok := tx.Policy(name); ok {
		return version(p)
	}
	return ""
}
