package station

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/registry"
)

// steps says what an operator does about an error.
var steps = []struct {
	err  error
	step string
}{
	{latchkey.ErrKeyFileMode, "make it private as shown; if others may have read the key, set the basestation up anew"},
	{registry.ErrLoose, "make it private as shown, and look through " + program + " device list"},
	{registry.ErrDamaged, "put registry.db back from a backup; without one, move it away with its directory and run " + program + " init"},
	{registry.ErrInUse, "wait for the other command, or stop the other basestation"},
	{registry.ErrNewer, "install the version of " + program + " that wrote it"},
	{syscall.EADDRINUSE, "stop what uses the address, or change listen in " + ConfigFile},
	{fs.ErrPermission, "run it as the user that owns the directory, or as root"},
}

// NextStep is what to do about an error that does not say so itself; "" when
// there is nothing to advise.
func NextStep(err error) string {
	for _, s := range steps {
		if errors.Is(err, s.err) {
			return s.step
		}
	}
	return ""
}
