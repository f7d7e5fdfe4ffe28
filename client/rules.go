package client

import (
	"context"
	"encoding/json"

	"github.com/latchkey-dev/latchkey/acl"
)

// A Role is a role of a device.
type Role struct {
	acl.Role
	Version string `json:"version"` // for Terms
}

// A PolicyInfo is a policy of a device, as a list shows it.
type PolicyInfo struct {
	Name    string   `json:"name"`
	Roles   []string `json:"roles"`   // that have it
	Version string   `json:"version"` // for Terms
}

// Roles lists the roles of the device, sorted by name.
func (c *Conn) Roles(ctx context.Context) ([]Role, error) {
	return pages(ctx, c, "/roles", func(r Role) string { return r.Name })
}

// Role returns one role.
func (c *Conn) Role(ctx context.Context, name string) (r Role, err error) {
	err = c.read(ctx, path("roles", name), &r)
	return r, err
}

// PutRole adds a role, or replaces the one of its name.
func (c *Conn) PutRole(ctx context.Context, r acl.Role, t Terms) (out Role, err error) {
	at := path("roles", r.Name)
	r.Policies = append([]string{}, r.Policies...) // a list in JSON, not null
	err = c.change(ctx, change{method: PUT, path: at, of: at, terms: t, body: r, into: &out})
	return out, err
}

// RemoveRole removes a role that nobody has.
func (c *Conn) RemoveRole(ctx context.Context, name string, t Terms) error {
	at := path("roles", name)
	return c.change(ctx, change{method: DELETE, path: at, of: at, terms: t})
}

// Policies lists the policies of the device, sorted by name.
func (c *Conn) Policies(ctx context.Context) ([]PolicyInfo, error) {
	return pages(ctx, c, "/policies", func(p PolicyInfo) string { return p.Name })
}

// Policy returns one policy: what the list shows, and its text in JSON, which
// acl.ParsePolicy reads.
func (c *Conn) Policy(ctx context.Context, name string) (PolicyInfo, json.RawMessage, error) {
	var p struct {
		PolicyInfo
		Policy json.RawMessage `json:"policy"`
	}
	err := c.read(ctx, path("policies", name), &p)
	return p.PolicyInfo, p.Policy, err
}

// PutPolicy adds a policy, or replaces the one of its name.
func (c *Conn) PutPolicy(ctx context.Context, p *acl.Policy, t Terms) (out PolicyInfo, err error) {
	at := path("policies", p.Name())
	err = c.change(ctx, change{method: PUT, path: at, of: at, terms: t, body: p, into: &out})
	return out, err
}

// RemovePolicy removes a policy that no role, user or key has.
func (c *Conn) RemovePolicy(ctx context.Context, name string, t Terms) error {
	at := path("policies", name)
	return c.change(ctx, change{method: DELETE, path: at, of: at, terms: t})
}
