package cli

import (
	"os"
	"runtime/debug"
)

// gcPercent lets the heap grow to five times what is live, at least 16 MB,
// before it is collected. Our programs keep little alive and have much pass
// through: at the usual 100 a busy tunnel is collected dozens of times a second,
// and requests beside it wait.
const gcPercent = 400

// relaxGC sets gcPercent, unless GOGC says otherwise.
func relaxGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
