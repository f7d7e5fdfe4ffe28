package acl

import (
	"errors"

	"github.com/latchkey-dev/latchkey"
)

// A Tx reads, and inside Update changes, one state of the store.
type Tx struct{}

// Users returns all users, sorted by name.
func (tx *Tx) Users() []User { return nil }

// User returns the user of that name.
func (tx *Tx) User(name string) (User, bool) { return User{}, false }

// Keys returns the keys of a user, sorted by fingerprint; of all users for "".
func (tx *Tx) Keys(user string) []Key { return nil }

// Key returns the key with that fingerprint.
func (tx *Tx) Key(fp latchkey.Fingerprint) (Key, bool) { return Key{}, false }

// Roles returns all roles, sorted by name.
func (tx *Tx) Roles() []Role { return nil }

// Setting returns what SetSetting stored.
func (tx *Tx) Setting(name string) (string, bool) { return "", false }

// AddUser adds a user; latchkey.ErrConflict if there is one of that name.
func (tx *Tx) AddUser(u User) error { return errors.ErrUnsupported }

// AddKey adds a key; latchkey.ErrConflict if it is there already.
func (tx *Tx) AddKey(k Key) error { return errors.ErrUnsupported }

// RemoveUser removes a user and its keys; latchkey.ErrNotFound if there is none.
func (tx *Tx) RemoveUser(name string) error { return errors.ErrUnsupported }

// RemoveKey removes a key; latchkey.ErrNotFound if there is none.
func (tx *Tx) RemoveKey(fp latchkey.Fingerprint) error { return errors.ErrUnsupported }

// SetRole gives a user another role.
func (tx *Tx) SetRole(user, role string) error { return errors.ErrUnsupported }

// PutRole adds or replaces a role.
func (tx *Tx) PutRole(r Role) error { return errors.ErrUnsupported }

// PutPolicy adds or replaces a policy.
func (tx *Tx) PutPolicy(p *Policy) error { return errors.ErrUnsupported }

// SetSetting stores a value.
func (tx *Tx) SetSetting(name, value string) error { return errors.ErrUnsupported }

// Force lets this change leave the device without an administrator.
func (tx *Tx) Force() {}
