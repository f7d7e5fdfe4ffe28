//go:build !windows

package tunnel

import (
	"errors"
	"syscall"
)

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// isEcho says that a read reports what became of an earlier write.
func isEcho(err error) bool { return isRefused(err) }
