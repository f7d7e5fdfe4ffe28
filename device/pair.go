package device

import (
	"context"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/pairing"
)

// pairingStatus tells which modes are open, and whether the caller is paired.
func (p *peer) pairingStatus(context.Context, *coap.Request) *coap.Response {
	if p.srv.pairing == nil {
		return refuse(latchkey.ErrPairingClosed)
	}
	body, err := p.srv.pairing.Status(time.Now(), p.asPairing()).Encode()
	if err != nil {
		return refuse(err)
	}
	return &coap.Response{Code: coap.Content, Format: FormatJSON, Observe: -1, Body: body}
}

// asPairing is what the pairing modes may know: facts, not claims.
func (p *peer) asPairing() pairing.Peer { return pairing.Peer{Key: p.key, Local: p.local} }

// pairLocalInitial makes the caller the owner, if the mode lets it. The answer
// goes out after the change is on disk.
func (p *peer) pairLocalInitial(_ context.Context, r *coap.Request) *coap.Response {
	answer, err := p.pair(pairing.LocalInitial, r.Body)
	if err != nil {
		p.log.Warn("pairing refused", "op", pairing.LocalInitial, "source", p.source(), "code", latchkey.CodeOf(err), "err", err)
		return refuse(err)
	}
	return answer
}

func (p *peer) pair(mode pairing.Modes, body []byte) (*coap.Response, error) {
	if p.srv.pairing == nil {
		return nil, latchkey.ErrPairingClosed
	}
	code, text, err := p.srv.pairing.Begin(p.asPairing()).Step(time.Now(), mode, body)
	if err != nil {
		return nil, err
	}
	subject := p.subject()
	p.log.Info("paired", "user", subject.User, "role", subject.Role, "op", mode)
	return &coap.Response{Code: coap.Code(code), Format: FormatJSON, Observe: -1, Body: text}, nil
}
