package admin

import (
	"errors"
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// An Error is a refusal that says what to do about it, and that can come over
// the control socket. It matches the sentinel of its code.
type Error struct {
	Message string        `json:"error"`
	Code    latchkey.Code `json:"code,omitempty"` // 0 when none of the registry fits
	Next    string        `json:"next,omitempty"` // what to do about it
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// NextStep returns what to do about it, "" when there is nothing to advise.
func (e *Error) NextStep() string { return e.Next }

// Unwrap makes errors.Is find the sentinel.
func (e *Error) Unwrap() error { return e.Code.Err() }

// errorOf describes err for the other end of the socket.
func errorOf(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	e := &Error{Message: err.Error()}
	if code := latchkey.CodeOf(err); code != latchkey.CodeInternal {
		e.Code = code
	}
	return e
}

// Fail makes a refusal with the step that helps. It matches the sentinel that
// cause matches, if any.
func Fail(cause error, next, format string, args ...any) error {
	return &Error{Message: fmt.Sprintf(format, args...), Code: latchkey.CodeOf(cause), Next: next}
}
