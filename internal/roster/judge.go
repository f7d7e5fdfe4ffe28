package roster

import (
	"errors"
	"fmt"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// maxTries is how often a change is tried while the rules change all the time.
const maxTries = 3

// errOutdated takes back a change for which the door has to be asked again.
var errOutdated = errors.New("roster: the rules have changed since the door was asked")

// current returns nil if the actor may make a change in tx, the state of this
// moment: if it is still who the door took it for, and if the rules by which the
// door decided are still in force or the door has said yes again. While a change
// runs nobody else makes one, so there is nothing between that and the deed.
func (a *Actor) current(tx *acl.Tx) error {
	if err := a.present(tx); err != nil {
		return err
	}
	select {
	case <-a.Changed:
	default:
		return nil
	}
	if a.Waits || a.Again == nil {
		return errOutdated
	}
	return a.again()
}

// present makes sure that the actor is still who the door took it for.
func (a *Actor) present(tx *acl.Tx) error {
	if a.Console || a.User == "" {
		return nil
	}
	if k, ok := tx.Key(a.Key); !ok || k.User != a.User {
		return fmt.Errorf("%w: the key of %q is not there any more", latchkey.ErrRevoked, a.User)
	}
	return nil
}

// again asks the door anew.
func (a *Actor) again() (err error) {
	a.Changed, err = a.Again()
	return err
}

// repeat tries to make a change, and asks the door again whenever the rules have
// changed since it was last asked.
func (a *Actor) repeat(try func() error) error {
	for range maxTries {
		err := try()
		if !errors.Is(err, errOutdated) || a.Again == nil {
			return err
		}
		if err := a.again(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %w", latchkey.ErrConflict, errOutdated)
}
