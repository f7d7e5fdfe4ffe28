package acl

import (
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// A User is a paired person or app.
type User struct {
	Name     string    `json:"name"`               // see CheckUserName
	Role     string    `json:"role"`               // a role that the store has, not RoleUnpaired
	Policies []string  `json:"policies,omitempty"` // hold for this user beside its role's
	Added    time.Time `json:"added,omitzero"`     // when
	Expires  time.Time `json:"expires,omitzero"`   // from then on every request is refused; zero: never
}

// A Key is one of a user's keys.
type Key struct {
	Fingerprint latchkey.Fingerprint `json:"fingerprint"`
	User        string               `json:"user"`               // a user that the store has
	Name        string               `json:"name,omitempty"`     // what people call it: "laptop"; at most 64 bytes
	Policies    []string             `json:"policies,omitempty"` // hold for this key alone
	Added       time.Time            `json:"added,omitzero"`     // when
	Origin      string               `json:"origin,omitempty"`   // how it came here: "local-initial", "manual"; named as roles are
	Expires     time.Time            `json:"expires,omitzero"`   // from then on every request is refused; zero: never
}

// A Role is a named set of policies.
type Role struct {
	Name     string   `json:"name"` // 1 to 63 of a-z, 0-9, . and -
	Policies []string `json:"policies"`
	// Includes are roles whose policies, and whose includes', it has too.
	Includes []string `json:"includes,omitempty"`
}

// A Subject is what the store knows about a key's owner. The zero Subject is a
// stranger.
type Subject struct {
	User    string    `json:"user,omitempty"`
	Role    string    `json:"role,omitempty"`
	KeyName string    `json:"key_name,omitempty"`
	Added   time.Time `json:"added,omitzero"`   // when the key was added
	Origin  string    `json:"origin,omitempty"` // how the key came here
	Expires time.Time `json:"expires,omitzero"` // the earlier of the key's and the user's; zero: never
}

func (u *User) clone() User { c := *u; c.Policies = slices.Clone(u.Policies); return c }
func (k *Key) clone() Key   { c := *k; c.Policies = slices.Clone(k.Policies); return c }
func (r *Role) clone() Role {
	c := *r
	c.Policies, c.Includes = slices.Clone(r.Policies), slices.Clone(r.Includes)
	return c
}

// clean returns a copy that shares nothing with u, in the form that is stored,
// or an error if a field is not what it must be. References to other records
// are checked when the change is complete, by state.check.
func (u User) clean() (*User, error) {
	if err := checkStoredName(u.Name); err != nil {
		return nil, err
	}
	if u.Role == RoleUnpaired {
		return nil, mistake("role %q is for peers that are no user", RoleUnpaired)
	}
	if err := checkTimes(u.Added, u.Expires); err != nil {
		return nil, err
	}
	u = u.clone()
	u.Added, u.Expires = plainTime(u.Added), plainTime(u.Expires)
	return &u, nil
}

func (k Key) clean() (*Key, error) {
	if k.Fingerprint.IsZero() {
		return nil, mistake("a key needs a fingerprint")
	}
	if err := CheckKeyName(k.Name); err != nil {
		return nil, err
	}
	if k.Origin != "" {
		if err := checkName("origin", k.Origin); err != nil {
			return nil, err
		}
	}
	if err := checkTimes(k.Added, k.Expires); err != nil {
		return nil, err
	}
	k = k.clone()
	k.Added, k.Expires = plainTime(k.Added), plainTime(k.Expires)
	return &k, nil
}

func (r Role) clean() (*Role, error) {
	if err := checkName("role", r.Name); err != nil {
		return nil, err
	}
	r = r.clone()
	return &r, nil
}

// checkTimes demands years that RFC 3339, the form in the file, can write.
func checkTimes(times ...time.Time) error {
	for _, t := range times {
		if y := t.UTC().Year(); y < 1 || y > 9999 {
			return mistake("a time in the year %d", y)
		}
	}
	return nil
}

// plainTime is t as it comes back from the file.
func plainTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Round(0)
}

// earlier returns the earlier of two times, where zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
