package device

import (
	"context"
	"time"

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
		return p.pairingRefused(mode, r, err)
	}
	p.court(time.Now())
	p.log.Debug("pairing step taken", "op", mode, "user", p.subject().User)
	return &coap.Response{Code: coap.Code(code), Format: FormatJSON, Observe: -1, Body: text}
}

// pairingRefused answers a step that failed. Wrong passwords have a budget of their
// own; whatever else goes wrong counts as any other refusal, unless it is our
// fault. A stranger can fail often, so that the log has one line for each code.
func (p *peer) pairingRefused(mode pairing.Modes, r *coap.Request, err error) *coap.Response {
	p.courting.Store(nil)
	code := latchkey.CodeOf(err)
	if p.first(code) {
		p.log.Warn("pairing refused", "op", mode, "source", p.source(), "code", code, "err", err)
	}
	if code == latchkey.CodeWrongPassword || code == latchkey.CodeInternal {
		return refuse(err)
	}
	return p.refused(r, err)
}

// endPairing ends what the connection may do towards pairing, and logs the wrong
// passwords of a client that saw by itself that they were.
func (p *peer) endPairing() {
	if p.exchange == nil {
		return
	}
	mode, err := p.exchange.End(p.srv.clock.now())
	if err != nil && p.first(latchkey.CodeOf(err)) {
		p.log.Warn("pairing refused", "op", mode, "source", p.source(), "code", latchkey.CodeOf(err), "err", err)
	}
}

// first reports whether no pairing of the session has failed with the code before.
func (p *peer) first(code latchkey.Code) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed[code] {
		return false
	}
	if p.failed == nil {
		p.failed = make(map[latchkey.Code]bool)
	}
	p.failed[code] = true
	return true
}
