package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

// errAnswer is an answer of the server that has no CoAP form.
var errAnswer = errors.New("the server's answer cannot be forwarded")

// wsaeconnrefused is ECONNREFUSED on Windows; no other system has an error of
// that number.
const wsaeconnrefused = syscall.Errno(10061)

// classify gives a transport's error the sentinel that the client will find.
func classify(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, latchkey.ErrTargetRefused), errors.Is(err, latchkey.ErrTargetTimeout):
		return err
	case errors.Is(err, latchkey.ErrTooLarge), errors.Is(err, latchkey.ErrProtocol):
		return fmt.Errorf("%w: %w", errAnswer, err)
	case errors.Is(err, net.ErrClosed):
		return fmt.Errorf("%w: %w", latchkey.ErrShutdown, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, coap.ErrNoAnswer),
		errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w: %w", latchkey.ErrTargetTimeout, err)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, wsaeconnrefused):
		return fmt.Errorf("%w: %w", latchkey.ErrTargetRefused, err)
	}
	return fmt.Errorf("%w: %w", latchkey.ErrTargetUnreachable, err)
}

// failure is the answer to a request that err ended.
func failure(err error) *coap.Response {
	var option *errOption
	if errors.As(err, &option) {
		return coap.NewResponse(option.code)
	}
	code := latchkey.CodeOf(err)
	r := coap.NewResponse(coap.Code(code.CoAP()))
	if errors.Is(err, errAnswer) {
		r.Code = coap.BadGateway
		if code == latchkey.CodeInternal {
			return r
		}
	}
	coap.SetCode(r, code)
	return r
}
