package daemon

import (
	"context"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/roster"
)

// A NewKey is a further key of a user.
type NewKey struct {
	User        string               `json:"user"`
	Fingerprint latchkey.Fingerprint `json:"fingerprint"`
	Name        string               `json:"name,omitempty"`
	Expires     time.Time            `json:"expires,omitzero"` // zero: never
	Terms
}

// keyChange is a change of one key, whoever has it.
type keyChange struct {
	Key      latchkey.Fingerprint `json:"key"`
	Name     string               `json:"name,omitempty"`
	Expires  time.Time            `json:"expires,omitzero"`
	Policies []string             `json:"policies,omitempty"`
	Terms
}

// AddKey gives a user one more key.
func (c *Control) AddKey(ctx context.Context, k NewKey) (acl.Account, error) {
	return admin.Call[acl.Account](ctx, c.backend, opKeyAdd, k)
}

// RenameKey gives a key another name, and returns whose it is.
func (c *Control) RenameKey(ctx context.Context, key latchkey.Fingerprint, name string, t Terms) (acl.Account, error) {
	return admin.Call[acl.Account](ctx, c.backend, opKeyRename, keyChange{Key: key, Name: name, Terms: t})
}

// SetKeyExpiry says when a key ends; the zero time is never. It returns whose
// key it is.
func (c *Control) SetKeyExpiry(ctx context.Context, key latchkey.Fingerprint, at time.Time, t Terms) (acl.Account, error) {
	return admin.Call[acl.Account](ctx, c.backend, opKeyExpire, keyChange{Key: key, Expires: at, Terms: t})
}

// SetKeyPolicies says which policies hold for a key beside those of its user. It
// returns whose key it is.
func (c *Control) SetKeyPolicies(ctx context.Context, key latchkey.Fingerprint, policies []string, t Terms) (acl.Account, error) {
	return admin.Call[acl.Account](ctx, c.backend, opKeyPolicies, keyChange{Key: key, Policies: policies, Terms: t})
}

// RemoveKey removes one key. Its user stays.
func (c *Control) RemoveKey(ctx context.Context, key latchkey.Fingerprint, t Terms) error {
	_, err := admin.Call[admin.None](ctx, c.backend, opKeyRemove, keyChange{Key: key, Terms: t})
	return err
}

func (a *administrator) addKey(_ context.Context, in NewKey) (acl.Account, error) {
	h := help{missing: listUsers, taken: "latchkeyd key remove " + in.Fingerprint.String(), terms: in.Terms}
	k := roster.NewKey{Fingerprint: in.Fingerprint, Name: in.Name, Expires: in.Expires}
	return change(a, h, func(r *roster.Roster) (acl.Account, error) { return r.AddKey(console, in.User, k, in.roster()) })
}

func (a *administrator) renameKey(_ context.Context, in keyChange) (acl.Account, error) {
	return a.changeKey(in, listUsers, roster.KeyChange{Name: &in.Name})
}

func (a *administrator) setKeyExpiry(_ context.Context, in keyChange) (acl.Account, error) {
	return a.changeKey(in, listUsers, roster.KeyChange{Expires: &in.Expires})
}

func (a *administrator) setKeyPolicies(_ context.Context, in keyChange) (acl.Account, error) {
	return a.changeKey(in, listUsers+", latchkeyd policy list", roster.KeyChange{Policies: &in.Policies})
}

// changeKey makes a change to a key, whoever has it.
func (a *administrator) changeKey(in keyChange, missing string, c roster.KeyChange) (acl.Account, error) {
	return change(a, help{missing: missing, terms: in.Terms}, func(r *roster.Roster) (acl.Account, error) {
		owner, err := r.Owner(in.Key)
		if err != nil {
			return acl.Account{}, err
		}
		return r.ChangeKey(console, owner, in.Key, c, in.roster())
	})
}

func (a *administrator) removeKey(_ context.Context, in keyChange) (admin.None, error) {
	return act(a, help{missing: listUsers, terms: in.Terms}, func(r *roster.Roster) error {
		owner, err := r.Owner(in.Key)
		if err != nil {
			return err
		}
		return r.RemoveKey(console, owner, in.Key, in.roster())
	})
}
