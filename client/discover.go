package client

import (
	"context"
	"iter"
	"net/netip"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/discover"
)

// Found is a device that answers on the local network, or has said goodbye. It
// is a hint that proves nothing: the handshake decides.
type Found struct {
	ID    latchkey.DeviceID    `json:"id"`
	Name  string               `json:"name"`
	Key   latchkey.Fingerprint `json:"key"` // as claimed
	Addrs []netip.AddrPort     `json:"addrs"`
	Gone  bool                 `json:"gone,omitempty"`
}

// Discover searches the local network until ctx ends or the loop does. A
// device appears again when what it says about itself changes.
func (c *Client) Discover(ctx context.Context) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		for f, err := range discover.Browse(ctx, discover.Options{Log: c.logger()}) {
			if !yield(Found(f), err) {
				return
			}
		}
	}
}
