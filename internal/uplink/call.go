package uplink

import (
	"context"
	"fmt"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// Call sends a message to the other end of a leg as a CoAP request and reads
// the answer into out, which may be nil; one of 2.04 has no body. A refusal is
// an error that matches the sentinel of its code; then out is filled in if the
// answer has a body for it.
func Call(ctx context.Context, e *coap.Endpoint, method coap.Code, path string, in, out signal.Message) error {
	r := coap.NewRequest(method, path)
	if in != nil {
		body, err := signal.Marshal(in)
		if err != nil {
			return err
		}
		r.Body, r.Format = body, coap.CBOR
	}
	answer, err := e.Do(ctx, r)
	if err != nil {
		return err
	}
	if answer.Code.Class() == 2 {
		if out == nil || answer.Code == coap.Changed { // which has no body
			return nil
		}
		return signal.Unmarshal(answer.Body, out)
	}
	if out != nil && len(answer.Body) > 0 {
		if err := signal.Unmarshal(answer.Body, out); err != nil {
			return err
		}
	}
	reason := latchkey.ErrorOfCoAP(uint8(answer.Code))
	if code, ok := coap.CodeOf(answer); ok {
		reason = code.Err()
	}
	if reason == nil {
		reason = latchkey.ErrInternal
	}
	return &Refusal{Path: path, Err: reason}
}

// A Refusal is the other end's no to a request.
type Refusal struct {
	Path string
	Err  error // matches the sentinel of the code
}

// Error implements error.
func (r *Refusal) Error() string { return r.Path + ": refused: " + r.Err.Error() }

// Unwrap makes errors.Is find the sentinel.
func (r *Refusal) Unwrap() error { return r.Err }

// Answer makes the response to a request that was granted. body may be nil.
func Answer(code coap.Code, body signal.Message) *coap.Response {
	r := coap.NewResponse(code)
	if body == nil {
		return r
	}
	b, err := signal.Marshal(body)
	if err != nil {
		return Refuse(fmt.Errorf("%w: %w", latchkey.ErrInternal, err))
	}
	r.Body, r.Format = b, coap.CBOR
	return r
}

// Refuse makes the response to a request that was not, with the code of err and
// no text.
func Refuse(err error) *coap.Response {
	code := latchkey.CodeOf(err)
	r := coap.NewResponse(coap.Code(code.CoAP()))
	coap.SetCode(r, code)
	return r
}
