package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/pairing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a busy machine may take; no test measures time.
const patience = 60 * time.Second

// A testDevice is a device that serves on a loopback address.
type testDevice struct {
	*device.Device
	info device.Info
	stop func() error // ends it and returns what ListenAndServe returned
}

// serve runs d until the test ends.
func serve(t *testing.T, d *device.Device) *testDevice {
	t.Helper()
	if d.Dir == "" && d.Access == nil {
		d.Dir = filepath.Join(t.TempDir(), "device")
	}
	if d.Addr == "" {
		d.Addr = "127.0.0.1:0"
	}
	d.NoDiscovery = true
	if d.Logger == nil {
		d.Logger = testLog(t)
	}
	ready := make(chan device.Info, 1)
	d.Ready = func(i device.Info) { ready <- i }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.ListenAndServe(ctx) }()
	td := &testDevice{Device: d}
	td.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("ListenAndServe does not return")
		}
	})
	select {
	case td.info = <-ready:
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(patience):
		t.Fatal("device is not ready")
	}
	t.Cleanup(func() {
		if err := td.stop(); err != nil {
			t.Errorf("device ended with %v", err)
		}
	})
	return td
}

// testLog writes to the test's log, until the test has ended.
func testLog(t *testing.T) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.t = nil
	})
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct {
	mu sync.Mutex
	t  *testing.T
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Log(string(bytes.TrimSpace(p)))
	}
	return len(p), nil
}

func newClient(t *testing.T) *client.Client {
	return &client.Client{Dir: filepath.Join(t.TempDir(), "client"), Logger: testLog(t), NoDiscovery: true}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// pair makes c the owner of d and knows it as home.
func pair(t *testing.T, c *client.Client, d *testDevice) {
	t.Helper()
	if _, err := c.Pair(deadline(t), d.info.PairingURL, client.PairOptions{Alias: "home", User: "owner"}); err != nil {
		t.Fatal(err)
	}
}

func dial(t *testing.T, c *client.Client) *client.Conn {
	t.Helper()
	conn, err := c.Dial(deadline(t), "home")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// owned is a device and the client that owns it, connected.
func owned(t *testing.T, d *device.Device) (*testDevice, *client.Client, *client.Conn) {
	t.Helper()
	d.Pairing = pairing.LocalInitial
	td := serve(t, d)
	c := newClient(t)
	pair(t, c, td)
	return td, c, dial(t, c)
}

// admit adds a user with a key of its own, as latchkeyd user add would, and
// returns its client, which knows the device as home.
func admit(t *testing.T, td *testDevice, store *acl.Store, name, role string) *client.Client {
	t.Helper()
	c := newClient(t)
	id, err := c.OpenIdentity()
	if err != nil {
		t.Fatal(err)
	}
	err = store.Update(func(tx *acl.Tx) error {
		return errors.Join(
			tx.AddUser(acl.User{Name: name, Role: role, Added: time.Now()}),
			tx.AddKey(acl.Key{Fingerprint: id.Fingerprint(), User: name, Added: time.Now(), Origin: "manual"}),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	known, err := c.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	dev := client.Device{Alias: "home", ID: td.info.ID, Key: td.info.Fingerprint, Addrs: td.info.PairingURL.Addrs, Added: time.Now()}
	if err := known.Add(dev); err != nil {
		t.Fatal(err)
	}
	return c
}

// newStore is a store that the test can change while the device serves.
func newStore(t *testing.T) *acl.Store {
	t.Helper()
	store, err := acl.Create(filepath.Join(t.TempDir(), "access.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func newIdentity(t *testing.T) *latchkey.Identity {
	t.Helper()
	id, err := latchkey.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// echo listens on a TCP address and sends back what it gets, to the end.
func echo(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		work.Wait()
	})
	return l
}
