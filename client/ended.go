package client

import (
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/latchkey-dev/latchkey"
)

// ending makes the cause of a session's end the error of what is asked of it
// afterwards. That we ended it ourselves needs no explanation.
func ending(cause error) error {
	if cause == nil || errors.Is(cause, net.ErrClosed) {
		return cause
	}
	return &endedError{"session", cause}
}

// An endedError says why there is no session any more, or no tunnel. It matches the sentinel
// of the device's reason.
type endedError struct {
	what  string // "session", or what else
	cause error
}

// Error tells the device's own word from what happened to us.
func (e *endedError) Error() string {
	var said *latchkey.RemoteError
	if errors.As(e.cause, &said) {
		return "the device ended the " + e.what + ": " + strings.TrimPrefix(said.Code.String(), "session ended because of ")
	}
	return e.what + " ended: " + e.cause.Error()
}

func (e *endedError) Unwrap() error { return e.cause }

// farewells are words of a device after which another session is of no use, or
// would only annoy it.
var farewells = []error{latchkey.ErrRevoked, latchkey.ErrDisconnected, latchkey.ErrAbuse}

// isFarewell reports whether err is one of them.
func isFarewell(err error) bool {
	return slices.ContainsFunc(farewells, func(target error) bool { return errors.Is(err, target) })
}
