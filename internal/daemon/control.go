package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/latchkey-dev/latchkey"
)

// maxMessage bounds what goes over the control socket in one message, in bytes.
const maxMessage = 8 << 20

// A Control carries out administrative commands on one directory.
type Control struct{ backend backend }

// backend is who carries out an operation: the running daemon or this process.
type backend interface {
	// call runs the operation op of the table in operations.go.
	call(ctx context.Context, op string, in []byte) (out []byte, err error)
	close() error
}

// OpenControl returns the Control of the daemon that runs on dir or, when none
// does, of the files in dir. The caller must close it soon: on files it holds
// the lock that a daemon needs to start.
func OpenControl(ctx context.Context, dir string) (*Control, error) {
	c, err := dialControl(ctx, dir)
	if !errors.Is(err, errNoDaemon) {
		return c, err
	}
	files, err := openFiles(dir)
	if err != nil {
		return nil, err
	}
	return &Control{files}, nil
}

// dialControl returns the Control of the daemon that runs on dir, or
// errNoDaemon.
func dialControl(ctx context.Context, dir string) (*Control, error) {
	conn, err := dialSocket(ctx, dir)
	if err != nil {
		return nil, err
	}
	return &Control{newSocketBackend(conn)}, nil
}

// Close releases the connection or the files.
func (c *Control) Close() error { return c.backend.close() }

// run calls op with in and reads the answer into a new Out.
func run[Out any](ctx context.Context, c *Control, op string, in any) (out Out, err error) {
	text, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	answer, err := c.backend.call(ctx, op, text)
	if err != nil {
		return out, err
	}
	err = decodeJSON(answer, &out)
	return out, err
}

// decodeJSON reads exactly one JSON value and refuses unknown fields.
func decodeJSON(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one JSON value")
	}
	return nil
}

// A ControlError is a refusal that came over the control socket. It matches
// the sentinel of its code.
type ControlError struct {
	Message string        `json:"error"`
	Code    latchkey.Code `json:"code,omitempty"` // 0 when none of the registry fits
	Next    string        `json:"next,omitempty"` // what to do about it
}

// Error implements error.
func (e *ControlError) Error() string { return e.Message }

// Unwrap makes errors.Is find the sentinel.
func (e *ControlError) Unwrap() error { return e.Code.Err() }

// controlError describes err for the other end of the socket.
func controlError(err error) *ControlError {
	var known *ControlError
	if errors.As(err, &known) {
		return known
	}
	e := &ControlError{Message: err.Error()}
	if code := latchkey.CodeOf(err); code != latchkey.CodeInternal {
		e.Code = code
	}
	return e
}

// fail makes a refusal with the step that helps.
func fail(cause error, next, format string, args ...any) error {
	return &ControlError{Message: fmt.Sprintf(format, args...), Code: latchkey.CodeOf(cause), Next: next}
}
