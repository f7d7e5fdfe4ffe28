package acl

import (
	"time"

	"github.com/latchkey-dev/latchkey"
)

// A User is a paired person or app.
type User struct {
	Name     string    // 1 to 64 letters, digits and . _ @ -, see CheckUserName
	Role     string    // a role that the store has
	Policies []string  // names of policies that hold for this user beside its role's
	Added    time.Time // when
	Expires  time.Time // from then on every request is refused; zero: never
}

// A Key is one of a user's keys.
type Key struct {
	Fingerprint latchkey.Fingerprint
	User        string    // a user that the store has
	Name        string    // what people call it: "laptop"; at most 64 bytes
	Policies    []string  // names of policies that hold for this key alone
	Added       time.Time // when
	Origin      string    // how it came here: "local-initial", "manual"; a-z, 0-9 and -
	Expires     time.Time // from then on every request is refused; zero: never
}

// A Role is a named set of policies.
type Role struct {
	Name     string // 1 to 63 of a-z, 0-9 and -
	Policies []string
}

// A Subject is what the store knows about a key's owner.
type Subject struct {
	User    string
	Role    string
	KeyName string
	Added   time.Time // when the key was added
	Origin  string    // how the key came here
	Expires time.Time // the earlier of the key's and the user's; zero: never
}
