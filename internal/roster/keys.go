package roster

import (
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// A NewKey is a further key of a user.
type NewKey struct {
	Fingerprint latchkey.Fingerprint
	Name        string
	Expires     time.Time // zero: never
}

// A KeyChange says what is different about a key. Nil fields stay as they are.
type KeyChange struct {
	Name     *string
	Expires  *time.Time
	Policies *[]string
}

// AddKey gives a user one more key. A user who does that for itself gives the new
// key the policies of the one that it acts with, its origin and age, and no longer
// life: no condition holds for one of the two keys only.
func (r *Roster) AddKey(a Actor, user string, k NewKey, t Terms) (acl.Account, error) {
	d := deed{kind: acl.EventKey, action: acl.KeyAdd, self: acl.SelfKeyAdd, object: user, detail: "key " + k.Fingerprint.String() + " added"}
	return r.change(a, t, d, user, func(tx *acl.Tx, u acl.User) error {
		key := acl.Key{Fingerprint: k.Fingerprint, User: user, Name: k.Name, Added: r.now(), Origin: OriginManual, Expires: k.Expires}
		if a.is(user) {
			own, _ := tx.Key(a.Key) // present saw to it that it is there
			key.Policies, key.Origin, key.Added = own.Policies, own.Origin, own.Added
			key.Expires = earlier(key.Expires, own.Expires)
		}
		return tx.AddKey(key)
	})
}

// ChangeKey changes what is known of a user's key. A user may give its own keys
// other names and less time, and no other policies.
func (r *Roster) ChangeKey(a Actor, user string, key latchkey.Fingerprint, c KeyChange, t Terms) (acl.Account, error) {
	d := deed{kind: acl.EventKey, action: acl.KeyChange, self: acl.SelfKeyChange, object: user, detail: "key " + key.String() + c.text()}
	return r.change(a, t, d, user, func(tx *acl.Tx, u acl.User) error {
		k, err := keyOf(tx, user, key)
		if err != nil {
			return err
		}
		if a.is(user) && (c.Policies != nil || c.Expires != nil && !earlier(*c.Expires, k.Expires).Equal(*c.Expires)) {
			return fmt.Errorf("%w: users give their own keys neither policies nor time", latchkey.ErrForbidden)
		}
		if c.Name != nil {
			k.Name = *c.Name
		}
		if c.Expires != nil {
			k.Expires = *c.Expires
		}
		if c.Policies != nil {
			k.Policies = *c.Policies
		}
		return tx.SetKey(k)
	})
}

// RemoveKey takes a key from a user, who stays, even without a key.
func (r *Roster) RemoveKey(a Actor, user string, key latchkey.Fingerprint, t Terms) error {
	d := deed{kind: acl.EventKey, action: acl.KeyRemove, self: acl.SelfKeyRemove, object: user, detail: "key " + key.String() + " removed"}
	_, err := r.change(a, t, d, user, func(tx *acl.Tx, u acl.User) error {
		if _, err := keyOf(tx, user, key); err != nil {
			return err
		}
		return tx.RemoveKey(key)
	})
	return err
}

// Owner returns whose key it is.
func (r *Roster) Owner(key latchkey.Fingerprint) (string, error) {
	s, ok := r.Access.Lookup(key)
	if !ok {
		return "", fmt.Errorf("no user has the key %s: %w", key, latchkey.ErrNotFound)
	}
	return s.User, nil
}

func keyOf(tx *acl.Tx, user string, key latchkey.Fingerprint) (acl.Key, error) {
	k, ok := tx.Key(key)
	if !ok || k.User != user {
		return acl.Key{}, fmt.Errorf("user %q has no key %s: %w", user, key, latchkey.ErrNotFound)
	}
	return k, nil
}

// earlier returns the earlier of two times, where zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// text says what changes, for the record.
func (c KeyChange) text() (s string) {
	if c.Name != nil {
		s += " named " + *c.Name
	}
	if c.Expires != nil {
		s += " expires " + when(*c.Expires)
	}
	if c.Policies != nil {
		s += " policies " + list(*c.Policies)
	}
	return s
}
