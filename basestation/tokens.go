package basestation

import (
	"context"
	"errors"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/registry"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// tokens replaces the connect tokens of the device that l is.
func (s *station) tokens(_ context.Context, l *leg, r *coap.Request) (*coap.Response, error) {
	id, ok := l.present()
	if !ok {
		return nil, latchkey.ErrForbidden
	}
	var m signal.Tokens
	if err := signal.Unmarshal(r.Body, &m); err != nil {
		return nil, err
	}
	list := make([]registry.Token, len(m.List))
	for i, t := range m.List {
		list[i] = registry.Token{Hash: t.Hash, Key: t.Key, Expires: t.Expires, Uses: t.Uses}
	}
	version, err := s.registry.ReplaceTokens(id, m.Version, list)
	switch {
	case errors.Is(err, latchkey.ErrConflict):
		answer, err := reply(coap.Conflict, &signal.TokensState{Version: version})
		if err == nil {
			coap.SetCode(answer, latchkey.CodeConflict)
		}
		return answer, err
	case err != nil:
		s.log.Warn("tokens not kept", "op", "tokens", "device", id.String(), "peer", l.key, "err", err)
		return nil, err
	}
	s.events.add(Event{Kind: EventTokens, Device: id, Key: l.key, Source: l.source})
	return coap.NewResponse(coap.Changed), nil
}
