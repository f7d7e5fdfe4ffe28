package device

import (
	"context"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/pairing"
)

// pairingStatus tells which modes are open, and whether the caller is paired.
func (p *peer) pairingStatus(context.Context, *coap.Request) *coap.Response {
	if p.srv.pairing == nil {
		return refuse(latchkey.ErrPairingClosed)
	}
	body, err := p.srv.pairing.Status(p.srv.clock.now(), p.asPairing(nil)).Encode()
	if err != nil {
		return refuse(err)
	}
	return &coap.Response{Code: coap.Content, Format: FormatJSON, Observe: -1, Body: body}
}

// asPairing is what the pairing modes may know: facts, not claims.
func (p *peer) asPairing(binding []byte) pairing.Peer {
	return pairing.Peer{Key: p.key, Local: p.local, Source: p.source().Addr(), Binding: binding}
}

// beginPairing prepares what the connection may do towards pairing.
func (p *peer) beginPairing() error {
	if p.srv.pairing == nil {
		return nil
	}
	var binding []byte
	if p.sess.Peer().ALPN == secure.Protocol {
		var err error
		if binding, err = p.sess.Export(pairing.Label, pairing.BindingSize); err != nil {
			return err
		}
	}
	p.exchange = p.srv.pairing.Begin(p.asPairing(binding))
	return nil
}

// pairs makes a handler of the steps of a pairing by mode.
func pairs(mode pairing.Modes) handler {
	return func(p *peer, ctx context.Context, c *call) *coap.Response { return p.pairStep(ctx, mode, c.Request) }
}

// pairStep takes one step of a pairing by mode. The answer goes out after what
// it says is on disk.
func (p *peer) pairStep(_ context.Context, mode pairing.Modes, r *coap.Request) *coap.Response {
	if p.exchange == nil {
		return refuse(latchkey.ErrPairingClosed)
	}
	code, text, err := p.exchange.Step(p.srv.clock.now(), mode, r.Body)
	if err != nil {
		p.log.Warn("pairing refused", "op", mode, "source", p.source(), "code", latchkey.CodeOf(err), "err", err)
		return refuse(err)
	}
	p.log.Debug("pairing step taken", "op", mode, "user", p.subject().User)
	return &coap.Response{Code: coap.Code(code), Format: FormatJSON, Observe: -1, Body: text}
}
