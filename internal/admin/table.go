package admin

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// An Operation reads its argument, acts on an A, and returns what is to be
// answered.
type Operation[A any] func(a A, ctx context.Context, in []byte) (any, error)

// A Table has the operations on an A by name. Nothing writes to it.
type Table[A any] map[string]Operation[A]

// None is the argument or answer of an operation that has none.
type None struct{}

// Op makes an Operation of a function with typed argument and answer.
func Op[A, In, Out any](f func(A, context.Context, In) (Out, error)) Operation[A] {
	return func(a A, ctx context.Context, text []byte) (any, error) {
		var in In
		if err := decodeJSON(text, &in); err != nil {
			return nil, fmt.Errorf("read the argument: %w", err)
		}
		return f(a, ctx, in)
	}
}

// Do runs the operation of that name.
func (t Table[A]) Do(ctx context.Context, a A, name string, in []byte) ([]byte, error) {
	run, ok := t[name]
	if !ok {
		return nil, fmt.Errorf("%w: operation %q", latchkey.ErrNotFound, name)
	}
	out, err := run(a, ctx, in)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}
