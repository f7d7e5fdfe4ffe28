package device

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/pairing"
)

// An office is a device with an administrator, olga, a user, uma, and a guest,
// gus.
type office struct {
	*Device
	t     *testing.T
	ctx   context.Context
	info  Info
	store *acl.Store

	keys   map[string]*latchkey.Identity
	mu     sync.Mutex
	events []acl.Event
}

// newOffice opens one; change may alter the device before it serves.
func newOffice(t *testing.T, change func(*Device, *acl.Store)) *office {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "device")
	store, err := acl.Create(filepath.Join(dir, AccessFile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	o := &office{t: t, store: store, keys: make(map[string]*latchkey.Identity)}
	var cancel context.CancelFunc
	o.ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	ready, ended := make(chan Info, 1), make(chan error, 1)
	o.Device = &Device{
		Dir: dir, Access: store, Identity: o.identity(""), Addr: "127.0.0.1:0", NoDiscovery: true, Name: "configured",
		Pairing: pairing.LocalOpen | pairing.Invite, Logger: slog.New(slog.DiscardHandler), Ready: func(i Info) { ready <- i },
		Audit: func(e acl.Event) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.events = append(o.events, e)
		},
	}
	for name, role := range map[string]string{"olga": acl.RoleAdmin, "uma": acl.RoleUser, "gus": acl.RoleGuest} {
		o.admit(name, role)
	}
	if change != nil {
		change(o.Device, store)
	}
	serving, stop := context.WithCancel(context.Background())
	go func() { ended <- o.ListenAndServe(serving) }()
	select {
	case o.info = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return o
}

func (o *office) identity(name string) *latchkey.Identity {
	o.t.Helper()
	id, err := latchkey.NewIdentity()
	if err != nil {
		o.t.Fatal(err)
	}
	o.keys[name] = id
	return id
}

// admit adds a user with a key.
func (o *office) admit(name, role string) {
	o.t.Helper()
	id := o.identity(name)
	o.update(func(tx *acl.Tx) error {
		return errors.Join(tx.AddUser(acl.User{Name: name, Role: role}),
			tx.AddKey(acl.Key{Fingerprint: id.Fingerprint(), User: name, Name: "first"}))
	})
}

func (o *office) update(f func(*acl.Tx) error) {
	o.t.Helper()
	if err := o.store.Update(f); err != nil {
		o.t.Fatal(err)
	}
}

// as dials the device with the key of a user; "" is a stranger.
func (o *office) as(name string) *client.Conn {
	o.t.Helper()
	id := o.keys[name]
	if name == "" {
		id, _ = latchkey.NewIdentity()
	}
	return o.with(id)
}

func (o *office) with(id *latchkey.Identity) *client.Conn {
	o.t.Helper()
	c := &client.Client{Dir: o.t.TempDir(), Identity: id, Logger: slog.New(slog.DiscardHandler), NoDiscovery: true}
	known, err := c.OpenKnown()
	if err != nil {
		o.t.Fatal(err)
	}
	if err := known.Add(client.Device{Alias: "home", ID: o.info.ID, Key: o.info.Fingerprint, Addrs: o.info.PairingURL.Addrs}); err != nil {
		o.t.Fatal(err)
	}
	conn, err := c.Dial(o.ctx, "home")
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _ = conn.Close(); _ = c.Close() })
	return conn
}

// request makes one with a body in JSON, if the method has bodies.
func request(method Method, path, body string) *client.Request {
	r := client.NewRequest(method, path)
	if method != GET && method != DELETE {
		r.Format, r.Body = coap.JSON, []byte(body)
	}
	return r
}
