package pairing

import (
	"errors"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/pake"
)

// CheapCosts makes new passwords of h cost next to nothing.
func CheapCosts(h *Host) { h.costs = pake.Costs{Time: 1, Memory: 8, Threads: 1} }

// ParseRequest reads a message that must be a request.
func ParseRequest(mode Modes, text []byte) (Request, error) {
	m, err := parseMessage(mode, text)
	if err == nil && m.kind != isRequest {
		err = errors.Join(latchkey.ErrProtocol, errors.New("another kind of message"))
	}
	if err != nil {
		return Request{}, err
	}
	return m.request, nil
}
