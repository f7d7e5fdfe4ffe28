package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxMessage bounds what goes over the control socket in one message, in bytes.
const MaxMessage = 8 << 20

// A Backend carries out the operations of a Table.
type Backend interface {
	Do(ctx context.Context, op string, in []byte) (out []byte, err error)
	Close() error
}

// Open returns the daemon that runs on dir or, when none does, what files
// returns. The caller must close it soon: on files it holds the lock that a
// daemon needs to start.
func Open(ctx context.Context, dir string, files func() (Backend, error)) (Backend, error) {
	b, err := Dial(ctx, dir)
	if errors.Is(err, ErrNoDaemon) {
		return files()
	}
	return b, err
}

// Dial returns the daemon that runs on dir, or ErrNoDaemon.
func Dial(ctx context.Context, dir string) (Backend, error) {
	conn, err := dialSocket(ctx, dir)
	if err != nil {
		return nil, err
	}
	return newSocketBackend(conn), nil
}

// Call asks b for op with in and reads the answer into a new Out.
func Call[Out any](ctx context.Context, b Backend, op string, in any) (out Out, err error) {
	text, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	answer, err := b.Do(ctx, op, text)
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

// RefuseSecond fails when a daemon answers on the control socket of dir. The lock
// on its files refuses as well, but only after a wait and without saying who
// holds it. status is the operation whose answer has a field pid; program is the
// daemon's name.
func RefuseSecond(ctx context.Context, dir, program, status string) error {
	b, err := Dial(ctx, dir)
	if errors.Is(err, ErrNoDaemon) {
		return nil
	}
	if err != nil {
		return err
	}
	defer b.Close()
	who := "another daemon"
	var st struct {
		PID int `json:"pid"`
	}
	if out, err := b.Do(ctx, status, []byte("{}")); err == nil && json.Unmarshal(out, &st) == nil {
		who = fmt.Sprintf("another daemon (process %d)", st.PID)
	}
	return &Error{Message: who + " runs on " + dir, Next: program + " status --dir " + dir}
}
