package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
)

// originManual marks keys that an administrator added by hand.
const originManual = "manual"

// DefaultRole is the role of a user that is added without one.
const DefaultRole = "guest"

// A User is a paired person or app with its keys.
type User struct {
	Name  string    `json:"name"`
	Role  string    `json:"role"`
	Added time.Time `json:"added"`
	Keys  []Key     `json:"keys"`
}

// A Key is one of a user's keys.
type Key struct {
	Fingerprint latchkey.Fingerprint `json:"fingerprint"`
	Name        string               `json:"name"`
	Added       time.Time            `json:"added"`
	Origin      string               `json:"origin"`
}

// A NewUser is a user or a further key to add. A user that exists must have the
// same role, or Role must be empty.
type NewUser struct {
	Name    string                `json:"name"`
	Role    string                `json:"role,omitempty"` // "": DefaultRole
	Key     *latchkey.Fingerprint `json:"key,omitempty"`
	KeyName string                `json:"key_name,omitempty"`
}

type userName struct {
	Name  string `json:"name"`
	Force bool   `json:"force,omitempty"`
}

type userRole struct {
	Name  string `json:"name"`
	Role  string `json:"role"`
	Force bool   `json:"force,omitempty"`
}

type keyName struct {
	Key   latchkey.Fingerprint `json:"key"`
	Force bool                 `json:"force,omitempty"`
}

// Users lists all users.
func (c *Control) Users(ctx context.Context) ([]User, error) {
	return admin.Call[[]User](ctx, c.backend, opUserList, admin.None{})
}

// User returns one user, latchkey.ErrNotFound if there is none of that name.
func (c *Control) User(ctx context.Context, name string) (User, error) {
	return admin.Call[User](ctx, c.backend, opUserShow, userName{Name: name})
}

// AddUser adds a user, or a key to a user, and returns what is there then.
func (c *Control) AddUser(ctx context.Context, u NewUser) (User, error) {
	return admin.Call[User](ctx, c.backend, opUserAdd, u)
}

// RemoveUser removes a user and all its keys. Unless force is set it keeps the
// last administrator.
func (c *Control) RemoveUser(ctx context.Context, name string, force bool) error {
	_, err := admin.Call[admin.None](ctx, c.backend, opUserRemove, userName{name, force})
	return err
}

// SetRole gives a user another role. Unless force is set it keeps the last
// administrator.
func (c *Control) SetRole(ctx context.Context, name, role string, force bool) error {
	_, err := admin.Call[admin.None](ctx, c.backend, opUserRole, userRole{name, role, force})
	return err
}

// RemoveKey removes one key. Unless force is set it keeps the last
// administrator's last key.
func (c *Control) RemoveKey(ctx context.Context, key latchkey.Fingerprint, force bool) error {
	_, err := admin.Call[admin.None](ctx, c.backend, opKeyRemove, keyName{key, force})
	return err
}

func (a *administrator) users(context.Context, admin.None) (list []User, err error) {
	list = []User{}
	err = a.access.View(func(tx *acl.Tx) error {
		for _, u := range tx.Users() {
			list = append(list, describe(tx, u))
		}
		return nil
	})
	return list, err
}

func describe(tx *acl.Tx, u acl.User) User {
	out := User{Name: u.Name, Role: u.Role, Added: u.Added, Keys: []Key{}}
	for _, k := range tx.Keys(u.Name) {
		out.Keys = append(out.Keys, Key{k.Fingerprint, k.Name, k.Added, k.Origin})
	}
	return out
}

func (a *administrator) user(_ context.Context, in userName) (out User, err error) {
	err = a.access.View(func(tx *acl.Tx) error {
		out, err = find(tx, in.Name)
		return err
	})
	return out, err
}

func find(tx *acl.Tx, name string) (User, error) {
	u, ok := tx.User(name)
	if !ok {
		return User{}, noUser(name)
	}
	return describe(tx, u), nil
}

func noUser(name string) error {
	return admin.Fail(latchkey.ErrNotFound, "latchkeyd user list", "there is no user %q", name)
}

func (a *administrator) addUser(_ context.Context, in NewUser) (out User, err error) {
	err = a.access.Update(func(tx *acl.Tx) error {
		now := time.Now()
		u, exists := tx.User(in.Name)
		switch {
		case !exists:
			role := in.Role
			if role == "" {
				role = DefaultRole
			}
			if err := checkRole(tx, role); err != nil {
				return err
			}
			if err := tx.AddUser(acl.User{Name: in.Name, Role: role, Added: now}); err != nil {
				return err
			}
		case in.Key == nil:
			return admin.Fail(latchkey.ErrConflict, "latchkeyd user add "+in.Name+" --key FINGERPRINT, to give it a key",
				"user %q is there already", in.Name)
		case in.Role != "" && in.Role != u.Role:
			return admin.Fail(latchkey.ErrConflict, fmt.Sprintf("latchkeyd user role %s %s", in.Name, in.Role),
				"user %q has the role %s", in.Name, u.Role)
		}
		if in.Key != nil {
			if err := addKey(tx, acl.Key{Fingerprint: *in.Key, User: in.Name, Name: in.KeyName, Added: now, Origin: originManual}); err != nil {
				return err
			}
		}
		out, err = find(tx, in.Name)
		return err
	})
	return out, err
}

// addKey adds k unless it is somebody's already.
func addKey(tx *acl.Tx, k acl.Key) error {
	if there, ok := tx.Key(k.Fingerprint); ok {
		return admin.Fail(latchkey.ErrConflict, "latchkeyd key remove "+k.Fingerprint.String(),
			"key %s belongs to user %q already", k.Fingerprint, there.User)
	}
	return tx.AddKey(k)
}

func checkRole(tx *acl.Tx, name string) error {
	var names []string
	for _, r := range tx.Roles() {
		if r.Name == name {
			return nil
		}
		names = append(names, r.Name)
	}
	return admin.Fail(latchkey.ErrNotFound, "", "there is no role %q; roles: %s", name, join(names))
}

func (a *administrator) removeUser(_ context.Context, in userName) (admin.None, error) {
	return admin.None{}, a.update(in.Force, func(tx *acl.Tx) error {
		if _, ok := tx.User(in.Name); !ok {
			return noUser(in.Name)
		}
		return tx.RemoveUser(in.Name)
	})
}

func (a *administrator) setRole(_ context.Context, in userRole) (admin.None, error) {
	return admin.None{}, a.update(in.Force, func(tx *acl.Tx) error {
		if _, ok := tx.User(in.Name); !ok {
			return noUser(in.Name)
		}
		if err := checkRole(tx, in.Role); err != nil {
			return err
		}
		return tx.SetRole(in.Name, in.Role)
	})
}

func (a *administrator) removeKey(_ context.Context, in keyName) (admin.None, error) {
	return admin.None{}, a.update(in.Force, func(tx *acl.Tx) error {
		if _, ok := tx.Key(in.Key); !ok {
			return admin.Fail(latchkey.ErrNotFound, "latchkeyd user list", "no user has the key %s", in.Key)
		}
		return tx.RemoveKey(in.Key)
	})
}

// update commits one change. With force it may leave the device without an
// administrator.
func (a *administrator) update(force bool, change func(*acl.Tx) error) error {
	err := a.access.Update(func(tx *acl.Tx) error {
		if force {
			tx.Force()
		}
		return change(tx)
	})
	if errors.Is(err, acl.ErrLastAdmin) {
		return admin.Fail(latchkey.ErrConflict, "give another user with a key the role admin first, or repeat with --force", "%v", err)
	}
	return err
}
