package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/secure"
)

// meet learns the key of a device whose URL does not say it, from the first
// address that answers. Nothing is trusted by that.
func (c *Client) meet(ctx context.Context, u *latchkey.PairingURL) (latchkey.Fingerprint, error) {
	var key latchkey.Fingerprint
	identity, err := c.OpenIdentity()
	if err != nil {
		return key, err
	}
	failed := &DialError{Device: strings.Join(u.Addrs, ", ")}
	for _, addr := range u.Addrs {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		list, err := resolve(ctx, addr)
		if err != nil {
			failed.Tries = append(failed.Tries, Try{addr, err})
			continue
		}
		l, err := c.handshake(ctx, identity, Device{}, DialOptions{}, list[0], func(p secure.Peer) error {
			key = p.Key
			return nil
		})
		if errors.Is(err, latchkey.ErrHandshakeRefused) && !key.IsZero() {
			failed.Tries = append(failed.Tries, Try{addr, &refusedError{err}})
			return key, failed
		}
		if err != nil {
			failed.Tries = append(failed.Tries, Try{addr, err})
			continue
		}
		l.close()
		return key, nil
	}
	return key, failed
}

// accept has the key of a device accepted that the URL did not say, and that no
// password has vouched for.
func (o PairOptions) accept(key latchkey.Fingerprint) error {
	if o.AcceptKey == nil {
		return fmt.Errorf("client: the address says nothing about the device's key, and nobody is there to accept it: %w", latchkey.ErrUnknownDevice)
	}
	return o.AcceptKey(key)
}
