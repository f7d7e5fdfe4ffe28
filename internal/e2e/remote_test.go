package e2e

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/registry"
)

// station serves a basestation on loopback until the test ends.
func station(t *testing.T) (*registry.Store, basestation.Info) {
	t.Helper()
	store, info, _ := stationWith(t, func(*basestation.Server) {})
	return store, info
}

// stationWith is station with a server that the test has changed before.
func stationWith(t *testing.T, change func(*basestation.Server)) (*registry.Store, basestation.Info, *basestation.Server) {
	t.Helper()
	store, err := registry.Create(filepath.Join(t.TempDir(), "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	ready := make(chan basestation.Info, 1)
	s := &basestation.Server{
		Identity: newIdentity(t), Registry: store, Addr: "127.0.0.1:0", Logger: testLog(t),
		Ready: func(i basestation.Info) { ready <- i },
	}
	s.Limits.Drain = time.Millisecond
	change(s)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.ListenAndServe(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("basestation ended with %v", err)
		}
	})
	select {
	case i := <-ready:
		return store, i, s
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(patience):
		t.Fatal("basestation is not ready")
	}
	return nil, basestation.Info{}, nil
}

// far is a device that is attached, and its owner, who has lost its address.
func far(t *testing.T) (*registry.Store, *testDevice, *client.Client) {
	t.Helper()
	store, info := station(t)
	identity := newIdentity(t)
	id := latchkey.DeviceID{Product: "acme", Device: "gw1"}
	if err := store.AddDevice(id, registry.Key{Fingerprint: identity.Fingerprint(), Purpose: "operational", Origin: "manual", State: "active", Added: time.Now()}); err != nil {
		t.Fatal(err)
	}
	td, c, conn := owned(t, &device.Device{
		Identity: identity, ID: id, Basestations: []string{info.Addrs[0].String()}, BasestationKey: info.Fingerprint,
		Services: []device.Service{{ID: "echo", Target: "tcp://" + echo(t, "tcp", "127.0.0.1:0").Addr().String()}},
	})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	_ = conn.Close()
	await(t, "attached, with the owner's token", func() bool {
		status, err := td.Status()
		return err == nil && status.Attach.State == "attached" && status.Attach.Tokens > 0
	})
	known, err := c.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	await(t, "a token in devices.json", func() bool {
		dev, err := known.Lookup("home")
		return err == nil && !dev.Token.IsZero()
	})
	if err := known.Update("home", func(d *client.Device) { d.Addrs = nil }); err != nil {
		t.Fatal(err)
	}
	return store, td, c
}

// await polls until ok, for as long as a busy machine may take.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func TestByWayOfABasestation(t *testing.T) {
	_, td, c := far(t)
	for _, via := range []client.Via{client.ViaRelay, client.ViaDirect, client.ViaAuto} {
		t.Run("via "+string(via), func(t *testing.T) {
			conn, err := c.DialWith(deadline(t), "home", client.DialOptions{Via: via})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if conn.Device() != td.info.Fingerprint {
				t.Error("another key answered")
			}
			if p := conn.Path(); via != client.ViaAuto && p.Kind != string(via) {
				t.Errorf("path %+v", p)
			}
			if _, err := conn.Get(deadline(t), "/device/info"); err != nil {
				t.Error(err)
			}
			tunnel, err := conn.Tunnel(deadline(t), "echo")
			if err != nil {
				t.Fatal(err)
			}
			defer tunnel.Close()
			if _, err := io.WriteString(tunnel, "hello"); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 5)
			if _, err := io.ReadFull(tunnel, b); err != nil || string(b) != "hello" {
				t.Errorf("%q, %v", b, err)
			}
			if via == client.ViaAuto {
				await(t, "a direct path", func() bool { return conn.Path().Kind == "direct" })
				if _, err := conn.Get(deadline(t), "/device/info"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestGateFromAfar has clients that the gate does not let in.
func TestGateFromAfar(t *testing.T) {
	_, _, c := far(t)
	_, err := c.DialWith(deadline(t), "home", client.DialOptions{Via: client.ViaRelay, Token: latchkey.NewConnectToken()})
	if !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("with a token that nobody gave out: %v", err)
	}
	known, err := c.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	dev, err := known.Lookup("home")
	if err != nil {
		t.Fatal(err)
	}
	thief := newClient(t)
	defer thief.Close()
	stolen, err := thief.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	if err := stolen.Add(dev); err != nil {
		t.Fatal(err)
	}
	if _, err := thief.DialWith(deadline(t), "home", client.DialOptions{Via: client.ViaRelay}); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("with the token of another key: %v", err)
	}
}
