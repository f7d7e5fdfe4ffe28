package tunnel

import (
	"errors"
	"syscall"
)

const wsaeconnrefused = syscall.Errno(10061)

func isRefused(err error) bool { return errors.Is(err, wsaeconnrefused) }

// isEcho says that a read reports what became of an earlier write.
func isEcho(err error) bool { return errors.Is(err, syscall.WSAECONNRESET) || isRefused(err) }
