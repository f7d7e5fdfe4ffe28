package client

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

const learnTime = 10 * time.Second

// learn asks the device, once in each session, how to reach it from elsewhere,
// and records what has changed: its basestation, the key of that, and our
// connect token. It does not wait.
func (c *Client) learn(dev Device, l *link) {
	if dev.Alias == "" {
		return // nothing is recorded of a device that is not known yet
	}
	l.start(func() { // ends with the answer, learnTime or the session
		ctx, cancel := context.WithTimeout(l.session.Context(), learnTime)
		defer cancel()
		fresh, ok := l.askBasestation(ctx)
		if !ok || slices.Equal(fresh.Basestations, dev.Basestations) && fresh.BasestationKey == dev.BasestationKey && fresh.Token == dev.Token {
			return
		}
		l.mu.Lock()
		l.device.Basestations, l.device.BasestationKey, l.device.Token = fresh.Basestations, fresh.BasestationKey, fresh.Token
		l.mu.Unlock()
		known, err := c.OpenKnown()
		if err == nil {
			err = known.Update(dev.Alias, func(d *Device) {
				d.Basestations, d.BasestationKey, d.Token = fresh.Basestations, fresh.BasestationKey, fresh.Token
			})
		}
		if err != nil {
			c.logger().Warn("remember basestation", "device", dev.Alias, "err", err)
		}
	})
}

// askBasestation returns what the device says of its basestation, and false if
// it says nothing: then we are nobody to it, or it has none.
func (l *link) askBasestation(ctx context.Context) (Device, bool) {
	answer, err := l.session.CoAP().Do(ctx, coap.NewRequest(coap.GET, "basestation"))
	if err != nil || answer.Code != coap.Content {
		return Device{}, false
	}
	var said struct {
		Addrs []string             `json:"basestations"`
		Key   latchkey.Fingerprint `json:"key"`
		Token string               `json:"token"`
	}
	if json.Unmarshal(answer.Body, &said) != nil || len(said.Addrs) == 0 || len(said.Addrs) > maxAddrs || said.Key.IsZero() {
		return Device{}, false
	}
	token, err := latchkey.ParseConnectToken(said.Token)
	if err != nil {
		return Device{}, false
	}
	return Device{Basestations: said.Addrs, BasestationKey: said.Key, Token: token}, true
}
