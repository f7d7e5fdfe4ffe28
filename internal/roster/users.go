package roster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

// A NewUser is a user to add.
type NewUser struct {
	Name    string
	Role    string    // "": acl.RoleGuest
	Expires time.Time // zero: never
	Key     latchkey.Fingerprint
	KeyName string // of Key, if that is not zero
}

// Users returns all accounts whose names come after a name, in their order.
func (r *Roster) Users(after string) (out []acl.Account, err error) {
	err = r.Access.View(func(tx *acl.Tx) error {
		out = slices.DeleteFunc(tx.Accounts(), func(a acl.Account) bool { return a.Name <= after })
		return nil
	})
	return out, err
}

// User returns one account.
func (r *Roster) User(name string) (out acl.Account, err error) {
	err = r.Access.View(func(tx *acl.Tx) error {
		out, err = find(tx, name)
		return err
	})
	return out, err
}

func find(tx *acl.Tx, name string) (acl.Account, error) {
	a, ok := tx.Account(name)
	if !ok {
		return acl.Account{}, fmt.Errorf("there is no user %q: %w", name, latchkey.ErrNotFound)
	}
	return a, nil
}

// AddUser adds a user, with a key or without.
func (r *Roster) AddUser(a Actor, u NewUser) (out acl.Account, err error) {
	if u.Role == "" {
		u.Role = acl.RoleGuest
	}
	d := deed{kind: acl.EventUser, action: acl.UserCreate, object: u.Name, detail: "added with role " + u.Role}
	if !u.Key.IsZero() {
		d.detail += " and key " + u.Key.String()
	}
	err = r.do(a, Terms{}, d, func(tx *acl.Tx) error {
		if u.Key.IsZero() && u.KeyName != "" {
			return fmt.Errorf("%w: the name of a key, and no key", latchkey.ErrProtocol)
		}
		if err := checkRole(tx, u.Role); err != nil {
			return err
		}
		now := r.now()
		if err := pairing.Reserved(tx, u.Name, now); err != nil {
			return err
		}
		if err := tx.AddUser(acl.User{Name: u.Name, Role: u.Role, Added: now, Expires: u.Expires}); err != nil {
			return err
		}
		if !u.Key.IsZero() {
			err := tx.AddKey(acl.Key{Fingerprint: u.Key, User: u.Name, Name: u.KeyName, Added: now, Origin: OriginManual})
			if err != nil {
				return err
			}
		}
		out, err = find(tx, u.Name)
		return err
	})
	return out, err
}

// Rename gives a user another name; keys and invitations go with it. Users who
// rename themselves may not, while something on this device may depend on names of
// users: they could walk out of it, or into it.
func (r *Roster) Rename(a Actor, name, to string, t Terms) (acl.Account, error) {
	d := deed{kind: acl.EventUser, action: acl.UserRename, self: acl.SelfRename, object: name, detail: "renamed to " + to}
	out, err := r.change(a, t, d, to, func(tx *acl.Tx, u acl.User) error {
		if a.is(name) && r.Hooked {
			return fmt.Errorf("%w: what decides here may depend on names of users, so others rename them", latchkey.ErrForbidden)
		}
		if a.is(name) && u.Role != acl.RoleAdmin && byName(tx) {
			return fmt.Errorf("%w: policies depend on names of users, so an administrator renames them", latchkey.ErrForbidden)
		}
		if !strings.EqualFold(name, to) {
			if err := pairing.Reserved(tx, to, r.now()); err != nil {
				return err
			}
		}
		return tx.RenameUser(name, to)
	})
	if err == nil {
		r.Quota.rename(name, to)
	}
	return out, err
}

// SetRole gives a user another role. Unless that is admin, the invitations that the
// user has made end.
func (r *Roster) SetRole(a Actor, name, role string, t Terms) (acl.Account, error) {
	d := deed{kind: acl.EventUser, action: acl.UserRole, object: name, detail: "role " + role}
	return r.change(a, t, d, name, func(tx *acl.Tx, u acl.User) error {
		if err := checkRole(tx, role); err != nil {
			return err
		}
		if role != u.Role && role != acl.RoleAdmin {
			if err := tx.RemoveInvitesBy(name); err != nil {
				return err
			}
		}
		return tx.SetRole(name, role)
	})
}

// SetExpiry says when all access of a user ends; zero is never, and a time that
// has passed ends it now.
func (r *Roster) SetExpiry(a Actor, name string, expires time.Time, t Terms) (acl.Account, error) {
	d := deed{kind: acl.EventUser, action: acl.UserExpire, object: name, detail: "expires " + when(expires)}
	return r.change(a, t, d, name, func(tx *acl.Tx, u acl.User) error {
		u.Expires = expires
		return tx.SetUser(u)
	})
}

// SetPolicies says which policies hold for a user beside those of its role.
func (r *Roster) SetPolicies(a Actor, name string, policies []string, t Terms) (acl.Account, error) {
	d := deed{kind: acl.EventUser, action: acl.UserPolicies, object: name, detail: "policies " + list(policies)}
	return r.change(a, t, d, name, func(tx *acl.Tx, u acl.User) error {
		u.Policies = policies
		return tx.SetUser(u)
	})
}

// RemoveUser removes a user with all its keys, and the invitations that it made.
func (r *Roster) RemoveUser(a Actor, name string, t Terms) error {
	d := deed{kind: acl.EventUser, action: acl.UserRemove, self: acl.SelfRemove, object: name, detail: "removed"}
	return r.do(a, t, d, func(tx *acl.Tx) error {
		if err := tx.CheckVersion(name, t.Version); err != nil {
			return err
		}
		return tx.RemoveUser(name)
	})
}

// change makes a change to one user on terms, and returns the account that is
// there then, under the name to.
func (r *Roster) change(a Actor, t Terms, d deed, to string, change func(*acl.Tx, acl.User) error) (out acl.Account, err error) {
	err = r.do(a, t, d, func(tx *acl.Tx) error {
		now, err := find(tx, d.object)
		if err == nil {
			err = tx.CheckVersion(d.object, t.Version)
		}
		if err == nil {
			err = change(tx, now.User)
		}
		if err == nil {
			out, err = find(tx, to)
		}
		if err == nil {
			err = same(tx, now.Version, out.Version)
		}
		return err
	})
	return out, err
}

func checkRole(tx *acl.Tx, name string) error {
	if _, ok := tx.Role(name); ok {
		return nil
	}
	var names []string
	for _, r := range tx.Roles() {
		names = append(names, r.Name)
	}
	return fmt.Errorf("there is no role %q, but %s: %w", name, list(names), latchkey.ErrNotFound)
}

// when writes a time for the record.
func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

// list writes names for the record.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
