package acl

import "fmt"

// Limits of one store. They keep every decision, every Update and the file
// bounded; whoever needs more has outgrown one file on one device.
const (
	MaxUsers       = 10_000
	MaxKeys        = 20_000 // of all users
	MaxKeysPerUser = 64
	MaxRoles       = 256
	MaxPolicies    = 256
	MaxAttached    = 16 // policies of one role, one user or one key; roles that one role includes
	MaxInherited   = 64 // policies that one role has with all that it includes
	MaxInvites     = 1024
	MaxVerifier    = 1024   // bytes of what the password of an invitation is checked with
	MaxRevoked     = 20_000 // removed keys that are remembered; the oldest go first
	MaxRevokedOwn  = 64     // of them, keys that one user removed itself
	MaxSettings    = 1024
	MaxSetting     = 16 << 10  // bytes of one value
	MaxFile        = 256 << 20 // bytes of access.db; larger files are not opened
)

// Limits of one policy.
const (
	MaxPolicySize = 256 << 10 // bytes of its text
	MaxStatements = 256
	MaxConditions = 16  // of one statement
	MaxList       = 64  // actions or resources of one statement, values of one condition
	MaxText       = 512 // bytes of one pattern or value
)

// Limits of a document.
const (
	MaxDocument = 1 << 20 // bytes of its text
	MaxCases    = 1024
)

// Limits of a request. A longer resource matches nothing.
const (
	MaxResource = 4096 // bytes
	maxSegments = 128
)

// A Mistake is an error in something that a person wrote: a policy, a name.
type Mistake struct{ text string }

// Error implements error.
func (m *Mistake) Error() string { return "acl: " + m.text }

func mistake(format string, args ...any) error {
	return &Mistake{fmt.Sprintf(format, args...)}
}
