package basestation

import (
	"context"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// A resource answers one kind of message. An error is told to the peer by its
// code alone.
type resource struct {
	method coap.Code
	serve  func(ctx context.Context, l *leg, r *coap.Request) (*coap.Response, error)
}

func (s *station) resources() map[string]resource {
	return map[string]resource{
		signal.PathAttach:     {coap.POST, s.attach},
		signal.PathTokens:     {coap.PUT, s.tokens},
		signal.PathConnect:    {coap.POST, s.connect},
		signal.PathCandidates: {coap.POST, s.candidates},
		signal.PathLeave:      {coap.POST, s.leave},
	}
}

// handle answers the requests of a peer.
func (l *leg) handle(ctx context.Context, r *coap.Request) *coap.Response {
	if len(r.Path) != 1 {
		return refuse(latchkey.ErrNotFound)
	}
	found, ok := l.s.paths[r.Path[0]]
	switch {
	case !ok:
		return refuse(latchkey.ErrNotFound)
	case r.Code != found.method:
		return refuse(latchkey.ErrMethodNotAllowed)
	case r.Format != coap.CBOR:
		return coap.NewResponse(coap.UnsupportedFormat)
	}
	answer, err := found.serve(ctx, l, r)
	if err != nil {
		return refuse(err)
	}
	return answer
}

// refuse tells a reason, without a body.
func refuse(err error) *coap.Response {
	code := latchkey.CodeOf(err)
	answer := coap.NewResponse(coap.Code(code.CoAP()))
	coap.SetCode(answer, code)
	return answer
}

// reply carries a message.
func reply(code coap.Code, m signal.Message) (*coap.Response, error) {
	body, err := signal.Marshal(m)
	if err != nil {
		return nil, err
	}
	answer := coap.NewResponse(code)
	answer.Format, answer.Body = coap.CBOR, body
	return answer, nil
}
