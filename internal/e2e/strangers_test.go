package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
)

// TestStrangersOfAHook: where a program decides who is whose friend, the session of
// somebody whom it lets do nothing ends, and with it the place that it took.
func TestStrangersOfAHook(t *testing.T) {
	meet := func(td *testDevice) *client.Client {
		c := newClient(t)
		known, err := c.OpenKnown()
		if err != nil {
			t.Fatal(err)
		}
		if err := known.Add(client.Device{Alias: "home", ID: td.info.ID, Key: td.info.Fingerprint, Addrs: td.info.PairingURL.Addrs}); err != nil {
			t.Fatal(err)
		}
		return c
	}
	var friend latchkey.Fingerprint
	td := serve(t, &device.Device{
		Limits: device.Limits{UnpairedLife: time.Second},
		Authorize: func(_ context.Context, r *acl.Request) error {
			if r.Peer == friend {
				return nil
			}
			return latchkey.ErrForbidden
		},
	})
	known := meet(td)
	id, err := known.OpenIdentity()
	if err != nil {
		t.Fatal(err)
	}
	friend = id.Fingerprint()
	stays := dial(t, known)
	if _, err := stays.Get(deadline(t), "/device/info"); err != nil {
		t.Fatal(err)
	}
	goes := dial(t, meet(td))
	if _, err := goes.Get(deadline(t), "/device/info"); !errors.Is(err, latchkey.ErrForbidden) {
		t.Fatal(err)
	}
	select {
	case <-goes.Context().Done():
	case <-time.After(patience):
		t.Fatal("the stranger's session goes on")
	}
	if err := context.Cause(goes.Context()); !errors.Is(err, latchkey.ErrUnpaired) {
		t.Error(err)
	}
	if _, err := stays.Get(deadline(t), "/device/info"); err != nil {
		t.Error(err)
	}
}
