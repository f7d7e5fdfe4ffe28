package acl

import (
	"errors"
	"strings"
)

// keptSettings begin the names of settings that a Reset leaves: what must not be
// forgotten, whoever owns the device.
const keptSettings = "local."

// Reset makes a store as Create does: nobody, no invitations, no settings, and the
// default roles and policies. What remembers refusals stays, as Restore leaves it:
// the list of removed keys and the settings local.*. Keys that go with the reset
// are not put on that list, so a backup may bring them back.
func (tx *Tx) Reset() error {
	tx.Force()
	err := tx.clear()
	for name := range tx.state.settings {
		if !strings.HasPrefix(name, keptSettings) {
			err = errors.Join(err, tx.RemoveSetting(name))
		}
	}
	return errors.Join(err, putDefaults(tx))
}
