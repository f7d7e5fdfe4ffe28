package daemon

import (
	"context"
	"slices"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/roster"
)

// A Role is a role of the store and its version.
type Role = roster.Role

// roleChange is a change of one role.
type roleChange struct {
	Role acl.Role `json:"role"`
	Terms
}

// Roles lists all roles.
func (c *Control) Roles(ctx context.Context) ([]Role, error) {
	return admin.Call[[]Role](ctx, c.backend, opRoleList, admin.None{})
}

// Role returns one role, latchkey.ErrNotFound if there is none of that name.
func (c *Control) Role(ctx context.Context, name string) (Role, error) {
	return admin.Call[Role](ctx, c.backend, opRoleShow, named{name})
}

// PutRole adds a role, or replaces the one of that name. On the terms of version
// roster.Absent it only adds.
func (c *Control) PutRole(ctx context.Context, r acl.Role, t Terms) (Role, error) {
	return admin.Call[Role](ctx, c.backend, opRolePut, roleChange{r, t})
}

// RemoveRole removes a role that nobody has.
func (c *Control) RemoveRole(ctx context.Context, name string, t Terms) error {
	_, err := admin.Call[admin.None](ctx, c.backend, opRoleRemove, roleChange{acl.Role{Name: name}, t})
	return err
}

const listRoles = "latchkeyd role list"

func (a *administrator) roles(context.Context, admin.None) ([]Role, error) {
	list, err := a.reader().Roles("")
	return nonNil(list), err
}

func (a *administrator) role(_ context.Context, in named) (Role, error) {
	r, err := a.reader().Role(in.Name)
	return r, a.advise(err, help{missing: listRoles})
}

func (a *administrator) putRole(_ context.Context, in roleChange) (Role, error) {
	h := help{missing: listRoles + ", latchkeyd policy list", taken: listRoles, terms: in.Terms}
	return change(a, h, func(r *roster.Roster) (Role, error) { return r.PutRole(console, in.Role, in.roster()) })
}

func (a *administrator) removeRole(_ context.Context, in roleChange) (admin.None, error) {
	h := help{missing: listRoles, taken: "give those who have it another role first", terms: in.Terms}
	if slices.Contains([]string{acl.RoleAdmin, acl.RoleUser, acl.RoleGuest, acl.RoleUnpaired}, in.Role.Name) {
		h.taken = "leave it: it is built in; latchkeyd role put " + in.Role.Name + " changes what it may"
	}
	return act(a, h, func(r *roster.Roster) error { return r.RemoveRole(console, in.Role.Name, in.roster()) })
}
