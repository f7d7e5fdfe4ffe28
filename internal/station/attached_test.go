package station

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/signal"
	"github.com/latchkey-dev/latchkey/internal/uplink"
)

// dial connects the holder of a key to a basestation.
func (r *running) dial(t *testing.T, id *latchkey.Identity) *uplink.Uplink {
	t.Helper()
	up, err := r.tryDial(t, id)
	check(t, err)
	t.Cleanup(up.Close)
	return up
}

func (r *running) tryDial(t *testing.T, id *latchkey.Identity) (*uplink.Uplink, error) {
	return uplink.Dial(t.Context(), uplink.Config{
		Identity: id, Addrs: []string{r.ready.Listen}, Key: r.ready.Fingerprint, Transports: uplink.TLS, Log: silent(),
	})
}

func attach(t *testing.T, up *uplink.Uplink, id latchkey.DeviceID) error {
	t.Helper()
	var out signal.Attached
	in := &signal.Attach{ID: id, Time: time.Now()}
	return uplink.Call(t.Context(), up.CoAP(), coap.POST, signal.PathAttach, in, &out)
}

// TestAttached: a device that an administrator added attaches, is seen, and is
// cut off when it is removed; whoever follows sees all of it, and the end.
func TestAttached(t *testing.T) {
	dir := initDir(t)
	r := start(t, dir)
	c, follower := control(t, dir), control(t, dir)
	seen, ended := make(chan basestation.Event, 64), make(chan error, 1)
	go func() {
		ended <- follower.Follow(t.Context(), func(e basestation.Event) error {
			seen <- e
			return nil
		})
	}()
	var kinds []basestation.EventKind
	await := func(kind basestation.EventKind) basestation.Event {
		t.Helper()
		for {
			select {
			case e := <-seen:
				kinds = append(kinds, e.Kind)
				if e.Seq != uint64(len(kinds)) {
					t.Errorf("event %d is numbered %d", len(kinds), e.Seq)
				}
				if e.Kind == kind {
					return e
				}
			case err := <-ended:
				t.Fatalf("following ended with %v after %v", err, kinds)
			case <-time.After(20 * time.Second):
				t.Fatalf("no event %s after %v", kind, kinds)
			}
		}
	}

	identity, err := latchkey.NewIdentity()
	check(t, err)
	up := r.dial(t, identity)
	if err := attach(t, up, gw("gw1")); !errors.Is(err, latchkey.ErrNotRegistered) {
		t.Errorf("a stranger attached: %v", err)
	}
	await(basestation.EventAttachRefused)
	_, err = c.AddDevice(t.Context(), gw("gw1"), identity.Fingerprint())
	check(t, err)
	up = r.dial(t, identity)
	check(t, attach(t, up, gw("gw1")))
	if e := await(basestation.EventAttached); e.Device != gw("gw1") || e.Key != identity.Fingerprint() {
		t.Errorf("event %+v", e)
	}
	d, err := c.Device(t.Context(), gw("gw1"))
	if err != nil || d.Attached == nil || d.Attached.Key != identity.Fingerprint() || d.Attached.Transport != "tls" {
		t.Errorf("device %+v, %v", d, err)
	}
	if list, err := c.Devices(t.Context()); err != nil || len(list) != 1 || list[0].Attached == nil {
		t.Errorf("devices %+v, %v", list, err)
	}
	if st, err := c.Status(t.Context()); err != nil || st.Serving == nil || st.Serving.Devices != 1 {
		t.Errorf("status %+v, %v", st, err)
	}
	check(t, c.RemoveDevice(t.Context(), gw("gw1")))
	await(basestation.EventRevoked)
	select {
	case <-up.Context().Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the device was not cut off")
	}
	list, err := c.Events(t.Context())
	if err != nil || !slices.ContainsFunc(list, func(e basestation.Event) bool { return e.Kind == basestation.EventRevoked }) {
		t.Errorf("events %+v, %v", list, err)
	}

	check(t, r.stop())
	select {
	case err := <-ended:
		if !errors.Is(err, errStopped) {
			t.Errorf("following ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("following did not end")
	}
}
