package acl

import "errors"

// Why a store cannot be opened or changed. Messages name the file and what to
// do next.
var (
	// ErrDamaged reports a file whose content is not what was written. It is
	// refused and left as it is: an empty allow-list in its place would let
	// the first comer become owner.
	ErrDamaged = errors.New("acl: the access database is damaged")
	// ErrInUse reports a file that another process has open.
	ErrInUse = errors.New("acl: the access database is already in use")
	// ErrNewer reports a file that a later version of Latchkey wrote.
	ErrNewer = errors.New("acl: the access database was written by a newer version")
	// ErrLoose reports a file, or its directory, that others than its owner
	// can reach.
	ErrLoose = errors.New("acl: the access database is not private")
	// ErrHeld reports a change that could not be written and takes something away.
	// It wraps the reason beside it.
	ErrHeld = errors.New("acl: the change is not on disk; what it takes away is refused until this process ends, but a restart would undo that: try again")
	// ErrLastAdmin reports a change that would leave no administrator who
	// holds a key. Tx.Force allows it.
	ErrLastAdmin = errors.New("acl: no administrator with a key would be left")
)
