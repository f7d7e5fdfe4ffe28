package device

import (
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/roster"
	"github.com/latchkey-dev/latchkey/pairing"
)

// renameDevice stores the name for people, and tells the network.
func renameDevice(p *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	var name string
	if _, err := readForm(c.Body, fields{"name": &name}, nil); err != nil {
		return nil, err
	}
	if err := r.SetName(c.actor(), name); err != nil {
		return nil, err
	}
	if err := p.srv.renamed(); err != nil {
		p.log.Warn("the network was not told the device's new name", "err", err)
	}
	return coap.NewResponse(coap.Changed), nil
}

func showSettings(p *peer, _ *roster.Roster, _ *call) (*coap.Response, error) {
	return reply(coap.Content, struct {
		Name    string   `json:"name"`
		Pairing []string `json:"pairing"` // modes that are open
	}{p.srv.name(), p.srv.pairing.Modes(p.srv.clock.now()).Names()}), nil
}

// maxOpen is how long a pairing mode may be opened for.
const maxOpen = 366 * 24 * time.Hour

// setPairing opens a pairing mode, for a time or until it is closed or used up, or
// closes it.
func setPairing(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	var open bool
	var length string
	if _, err := readForm(c.Body, fields{"open": &open}, fields{"for": &length}); err != nil {
		return nil, err
	}
	mode, err := pairing.ParseMode(c.value("mode"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", latchkey.ErrNotFound, err)
	}
	if !open {
		return changed(r.ClosePairing(c.actor(), mode))
	}
	var d time.Duration
	if length != "" {
		if d, err = time.ParseDuration(length); err != nil || d <= 0 || d > maxOpen {
			return nil, fmt.Errorf("%w: the length of time is above 0 and at most %v", latchkey.ErrProtocol, maxOpen)
		}
	}
	return changed(r.OpenPairing(c.actor(), mode, d))
}

// changed answers a change that shows nothing.
func changed(err error) (*coap.Response, error) {
	if err != nil {
		return nil, err
	}
	return coap.NewResponse(coap.Changed), nil
}
