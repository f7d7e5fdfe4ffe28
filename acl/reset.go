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
// the settings local.* and the list of removed keys, on which all keys are now. So
// no backup from before brings a former owner back; who pairs again, or is added
// again, is.
func (tx *Tx) Reset() error {
	tx.Force()
	var err error
	for fp := range tx.state.keys {
		err = errors.Join(err, tx.RemoveKey(fp))
	}
	err = errors.Join(err, tx.clear())
	for name := range tx.state.settings {
		if !strings.HasPrefix(name, keptSettings) {
			err = errors.Join(err, tx.RemoveSetting(name))
		}
	}
	return errors.Join(err, putDefaults(tx))
}
