package daemon

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/roster"
)

// DefaultRole is the role of a user that is added without one.
const DefaultRole = acl.RoleGuest

// A NewUser is a user or a further key to add. A user that exists must have the
// same role, or Role must be empty.
type NewUser struct {
	Name    string                `json:"name"`
	Role    string                `json:"role,omitempty"` // "": DefaultRole
	Expires time.Time             `json:"expires,omitzero"`
	Key     *latchkey.Fingerprint `json:"key,omitempty"`
	KeyName string                `json:"key_name,omitempty"`
}

// userChange is a change of one user, and one of its values.
type userChange struct {
	Name     string    `json:"name"`
	To       string    `json:"to,omitempty"`
	Role     string    `json:"role,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
	Policies []string  `json:"policies,omitempty"`
	Terms
}

type named struct {
	Name string `json:"name"`
}

// Users lists all users.
func (c *Control) Users(ctx context.Context) ([]acl.Account, error) {
	return admin.Call[[]acl.Account](ctx, c.backend, opUserList, admin.None{})
}

// User returns one user, latchkey.ErrNotFound if there is none of that name.
func (c *Control) User(ctx context.Context, name string) (acl.Account, error) {
	return admin.Call[acl.Account](ctx, c.backend, opUserShow, named{name})
}

// AddUser adds a user, or a key to a user, and returns what is there then.
func (c *Control) AddUser(ctx context.Context, u NewUser) (acl.Account, error) {
	return admin.Call[acl.Account](ctx, c.backend, opUserAdd, u)
}

// RemoveUser removes a user and all its keys.
func (c *Control) RemoveUser(ctx context.Context, name string, t Terms) error {
	_, err := admin.Call[admin.None](ctx, c.backend, opUserRemove, userChange{Name: name, Terms: t})
	return err
}

// Rename gives a user another name.
func (c *Control) Rename(ctx context.Context, name, to string, t Terms) (acl.Account, error) {
	return admin.Call[acl.Account](ctx, c.backend, opUserRename, userChange{Name: name, To: to, Terms: t})
}

// SetRole gives a user another role.
func (c *Control) SetRole(ctx context.Context, name, role string, t Terms) (acl.Account, error) {
	return admin.Call[acl.Account](ctx, c.backend, opUserRole, userChange{Name: name, Role: role, Terms: t})
}

// SetExpiry says when all access of a user ends; the zero time is never.
func (c *Control) SetExpiry(ctx context.Context, name string, at time.Time, t Terms) (acl.Account, error) {
	return admin.Call[acl.Account](ctx, c.backend, opUserExpire, userChange{Name: name, Expires: at, Terms: t})
}

// SetPolicies says which policies hold for a user beside those of its role.
func (c *Control) SetPolicies(ctx context.Context, name string, policies []string, t Terms) (acl.Account, error) {
	return admin.Call[acl.Account](ctx, c.backend, opUserPolicies, userChange{Name: name, Policies: policies, Terms: t})
}

const listUsers = "latchkeyd user list"

func (a *administrator) users(context.Context, admin.None) ([]acl.Account, error) {
	list, err := a.reader().Users("")
	return nonNil(list), err
}

func (a *administrator) user(_ context.Context, in named) (acl.Account, error) {
	u, err := a.reader().User(in.Name)
	return u, a.advise(err, help{missing: listUsers})
}

func (a *administrator) addUser(_ context.Context, in NewUser) (acl.Account, error) {
	h := help{missing: listRoles, taken: a.inTheWay(in)}
	u := roster.NewUser{Name: in.Name, Role: in.Role, Expires: in.Expires, KeyName: in.KeyName}
	if in.Key == nil {
		return change(a, h, func(r *roster.Roster) (acl.Account, error) { return r.AddUser(console, u) })
	}
	if there, err := a.reader().User(in.Name); err == nil {
		switch {
		case in.Role != "" && in.Role != there.Role:
			return there, admin.Fail(latchkey.ErrConflict, "latchkeyd user role "+in.Name+" "+in.Role, "user %q has the role %s", in.Name, there.Role)
		case !in.Expires.IsZero():
			return there, admin.Fail(latchkey.ErrConflict, "latchkeyd user expire "+in.Name+" WHEN", "user %q is there already", in.Name)
		}
		return a.addKey(context.Background(), NewKey{User: in.Name, Fingerprint: *in.Key, Name: in.KeyName})
	}
	u.Key = *in.Key
	return change(a, h, func(r *roster.Roster) (acl.Account, error) { return r.AddUser(console, u) })
}

// inTheWay says what helps when the name of a new user, in this or another case, or
// the key is taken.
func (a *administrator) inTheWay(in NewUser) string {
	list, _ := a.reader().Users("") // without, the name is somebody's who is invited
	i := slices.IndexFunc(list, func(u acl.Account) bool { return strings.EqualFold(u.Name, in.Name) })
	switch {
	case i >= 0 && in.Key == nil && !in.Expires.IsZero():
		return "latchkeyd user expire " + list[i].Name + " WHEN"
	case i >= 0:
		return "latchkeyd user add " + list[i].Name + " --key FINGERPRINT, to give it a key"
	case in.Key != nil:
		return "latchkeyd key remove " + in.Key.String()
	}
	return "latchkeyd invites list, and choose a name that is free"
}

func (a *administrator) removeUser(_ context.Context, in userChange) (admin.None, error) {
	return act(a, help{missing: listUsers, terms: in.Terms}, func(r *roster.Roster) error {
		return r.RemoveUser(console, in.Name, in.roster())
	})
}

func (a *administrator) renameUser(_ context.Context, in userChange) (acl.Account, error) {
	h := help{missing: listUsers, taken: "choose another name", terms: in.Terms}
	return change(a, h, func(r *roster.Roster) (acl.Account, error) { return r.Rename(console, in.Name, in.To, in.roster()) })
}

func (a *administrator) setRole(_ context.Context, in userChange) (acl.Account, error) {
	h := help{missing: listUsers + ", latchkeyd role list", terms: in.Terms}
	return change(a, h, func(r *roster.Roster) (acl.Account, error) { return r.SetRole(console, in.Name, in.Role, in.roster()) })
}

func (a *administrator) setExpiry(_ context.Context, in userChange) (acl.Account, error) {
	return change(a, help{missing: listUsers, terms: in.Terms}, func(r *roster.Roster) (acl.Account, error) {
		return r.SetExpiry(console, in.Name, in.Expires, in.roster())
	})
}

func (a *administrator) setPolicies(_ context.Context, in userChange) (acl.Account, error) {
	h := help{missing: listUsers + ", latchkeyd policy list", terms: in.Terms}
	return change(a, h, func(r *roster.Roster) (acl.Account, error) {
		return r.SetPolicies(console, in.Name, in.Policies, in.roster())
	})
}
