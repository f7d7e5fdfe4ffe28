package client

import (
	"context"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// An Account is a user of a device, with its keys.
type Account struct {
	acl.User
	Keys    []acl.Key `json:"keys"`    // the oldest first
	Version string    `json:"version"` // of all of it, for Terms
}

// A NewUser is what a user is to be.
type NewUser struct {
	Role    string               `json:"role,omitempty"`   // "": guest
	Expires time.Time            `json:"expires,omitzero"` // of all access; zero: never
	Key     latchkey.Fingerprint `json:"key,omitzero"`     // may be zero: keys can be added later
	KeyName string               `json:"key_name,omitempty"`
}

// A NewKey is what a further key of a user is to be.
type NewKey struct {
	Name    string    `json:"name,omitempty"`   // what people call it: "laptop"
	Expires time.Time `json:"expires,omitzero"` // zero: never
}

// A KeyChange says what is to be different about a key. Nil fields stay.
type KeyChange struct {
	Name     *string    `json:"name,omitempty"`
	Expires  *time.Time `json:"expires,omitempty"`
	Policies *[]string  `json:"policies,omitempty"` // of the key alone
}

// Me returns the name of the user that we are on the device.
func (c *Conn) Me(ctx context.Context) (string, error) {
	var me struct{ User string }
	if err := c.read(ctx, "/me", &me); err != nil {
		return "", err
	}
	return me.User, nil
}

// Users lists all users of the device, sorted by name.
func (c *Conn) Users(ctx context.Context) ([]Account, error) {
	return pages(ctx, c, "/users", func(a Account) string { return a.Name })
}

// User returns one user. latchkey.ErrNotFound: there is none of that name.
func (c *Conn) User(ctx context.Context, name string) (a Account, err error) {
	err = c.read(ctx, path("users", name), &a)
	return a, err
}

// AddUser adds a user. latchkey.ErrConflict: the name or the key is taken.
func (c *Conn) AddUser(ctx context.Context, name string, u NewUser) (a Account, err error) {
	if err := checkNewUser(name, u); err != nil {
		return a, err
	}
	err = c.change(ctx, change{method: POST, path: path("users", name), body: u, into: &a})
	return a, err
}

// RemoveUser removes a user with all its keys. Its sessions end at once.
func (c *Conn) RemoveUser(ctx context.Context, name string, t Terms) error {
	return c.change(ctx, change{method: DELETE, path: path("users", name), of: path("users", name), terms: t})
}

// RenameUser gives a user another name, which its keys and invitations follow.
func (c *Conn) RenameUser(ctx context.Context, name, to string, t Terms) (Account, error) {
	if err := checkUser(to); err != nil {
		return Account{}, err
	}
	return c.changeUser(ctx, name, "name", struct {
		Name string `json:"name"`
	}{to}, t)
}

// SetRole gives a user another role.
func (c *Conn) SetRole(ctx context.Context, name, role string, t Terms) (Account, error) {
	return c.changeUser(ctx, name, "role", struct {
		Role string `json:"role"`
	}{role}, t)
}

// SetExpiry says when all access of a user ends; the zero time is never.
func (c *Conn) SetExpiry(ctx context.Context, name string, expires time.Time, t Terms) (Account, error) {
	return c.changeUser(ctx, name, "expires", struct {
		Expires time.Time `json:"expires,omitzero"`
	}{expires}, t)
}

// SetPolicies says which policies hold for a user beside those of its role.
func (c *Conn) SetPolicies(ctx context.Context, name string, policies []string, t Terms) (Account, error) {
	return c.changeUser(ctx, name, "policies", struct {
		Policies []string `json:"policies"`
	}{append([]string{}, policies...)}, t)
}

func (c *Conn) changeUser(ctx context.Context, name, what string, body any, t Terms) (a Account, err error) {
	err = c.change(ctx, change{
		method: PUT, path: path("users", name, what), of: path("users", name), terms: t, body: body, into: &a,
	})
	return a, err
}

// AddKey gives a user one more key. A key that a user adds for itself has the
// policies of the key that it acts with, and expires no later.
func (c *Conn) AddKey(ctx context.Context, user string, key latchkey.Fingerprint, k NewKey, t Terms) (Account, error) {
	if err := checkKey(k.Name); err != nil {
		return Account{}, err
	}
	return c.changeKey(ctx, POST, user, key, k, t)
}

// ChangeKey changes what is known of a user's key.
func (c *Conn) ChangeKey(ctx context.Context, user string, key latchkey.Fingerprint, k KeyChange, t Terms) (Account, error) {
	if k.Name != nil {
		if err := checkKey(*k.Name); err != nil {
			return Account{}, err
		}
	}
	if k.Policies != nil {
		list := append([]string{}, *k.Policies...) // a list in JSON, not null
		k.Policies = &list
	}
	return c.changeKey(ctx, PUT, user, key, k, t)
}

func (c *Conn) changeKey(ctx context.Context, method Method, user string, key latchkey.Fingerprint, body any, t Terms) (a Account, err error) {
	err = c.change(ctx, change{
		method: method, path: path("users", user, "keys", key.String()), of: path("users", user), terms: t, body: body, into: &a,
	})
	return a, err
}

// RemoveKey takes a key from a user, who stays. The key's sessions end at once.
func (c *Conn) RemoveKey(ctx context.Context, user string, key latchkey.Fingerprint, t Terms) error {
	return c.change(ctx, change{method: DELETE, path: path("users", user, "keys", key.String()), of: path("users", user), terms: t})
}
