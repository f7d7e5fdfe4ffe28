package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
)

// revocationBound is within what a change has to hold for all that is under way.
const revocationBound = time.Second

// A torrent is a service that sends as fast as it can and tells when each of its
// connections was ended.
type torrent struct {
	net.Listener
	ended chan time.Time
}

func newTorrent(t *testing.T) *torrent {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &torrent{l, make(chan time.Time, 16)}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				buf := make([]byte, 64<<10)
				for {
					if _, err := c.Write(buf); err != nil {
						s.ended <- time.Now()
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		work.Wait()
	})
	return s
}

// A loser is somebody who has everything under way at once, and loses it.
type loser struct {
	conn  *client.Conn
	ended chan map[string]error // how each thing ended
	work  sync.WaitGroup
}

// begin does one thing until it ends.
func (v *loser) begin(what string, f func() error) {
	v.work.Go(func() { v.ended <- map[string]error{what: f()} })
}

// TestRevocationUnderLoad takes the rights of a user who has a tunnel open at
// full speed, an observation, an idle tunnel, a request in a handler that does
// not listen, and one at an upstream server.
func TestRevocationUnderLoad(t *testing.T) {
	flood, idle := newTorrent(t), echo(t, "tcp", "127.0.0.1:0")
	var release sync.Map // of handlers, by user
	entered := make(chan struct{}, 16)
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(upstream.Close)
	mux := device.NewMux()
	mux.HandleFunc("GET /deaf", func(_ device.ResponseWriter, r *device.Request) {
		entered <- struct{}{}
		ch, _ := release.Load(r.User)
		<-ch.(chan struct{})
	})
	mux.HandleObservable("GET /state", device.HandlerFunc(func(w device.ResponseWriter, _ *device.Request) { fmt.Fprint(w, time.Now()) }))
	store := newStore(t)
	td := serve(t, &device.Device{
		Identity: newIdentity(t), Access: store, Handler: mux,
		Services: []device.Service{
			{ID: "flood", Target: "tcp://" + flood.Addr().String()}, {ID: "idle", Target: "tcp://" + idle.Addr().String()},
		},
		Routes: []device.Route{{Path: "/up/**", To: upstream.URL}},
	})
	took := make([]time.Duration, 0, revocations)
	for i := range revocations {
		name := fmt.Sprintf("user%d", i)
		gone := make(chan struct{})
		release.Store(name, gone)
		c := admit(t, td, store, name, "user")
		v := &loser{conn: dial(t, c), ended: make(chan map[string]error, 16)}
		v.everything(t, td, entered)
		change := func(tx *acl.Tx) error { return tx.RemoveUser(name) }
		if i%2 == 0 {
			change = func(tx *acl.Tx) error { return tx.SetRole(name, acl.RoleGuest) }
		}
		before := time.Now()
		if err := store.Update(change); err != nil {
			t.Fatal(err)
		}
		last := (<-flood.ended).Sub(before)
		for range 5 {
			for what, err := range <-v.ended {
				if !errors.Is(err, latchkey.ErrRevoked) {
					t.Errorf("run %d: %s ended with %v", i, what, err)
				}
			}
			last = max(last, time.Since(before))
		}
		close(gone)
		v.conn.Close()
		v.work.Wait()
		took = append(took, last)
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("%d revocations: everything had ended after p50 %v, p99 %v, at most %v", len(took), took[len(took)/2], p99, took[len(took)-1])
	if judgesRevoked && p99 > revocationBound {
		t.Errorf("p99 %v, at most %v", p99, revocationBound)
	}
}

// everything begins five things and returns when all of them go on.
func (v *loser) everything(t *testing.T, td *testDevice, entered <-chan struct{}) {
	t.Helper()
	ctx := deadline(t)
	for _, service := range []string{"flood", "idle"} {
		tun, err := v.conn.Tunnel(ctx, service)
		if err != nil {
			t.Fatal(err)
		}
		if service == "idle" {
			if _, err := tun.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.ReadFull(tun, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		v.begin(service, func() error {
			defer tun.Close()
			_, err := io.Copy(io.Discard, tun)
			return err
		})
	}
	watching := make(chan struct{}, 1)
	v.begin("observation", func() error {
		for _, err := range v.conn.Observe(ctx, "/state") {
			if err != nil {
				return err
			}
			select {
			case watching <- struct{}{}:
			default:
			}
			td.Notify("/state")
		}
		return errors.New("no reason")
	})
	for _, path := range []string{"/deaf", "/up/x"} {
		v.begin(path, func() error {
			_, err := v.conn.Get(ctx, path)
			return err
		})
	}
	<-watching
	<-entered
	<-entered
}

// TestExpiryEndsWhatIsOpen lets a user expire under an open tunnel.
func TestExpiryEndsWhatIsOpen(t *testing.T) {
	target := echo(t, "tcp", "127.0.0.1:0")
	store := newStore(t)
	td := serve(t, &device.Device{
		Identity: newIdentity(t), Access: store,
		Services: []device.Service{{ID: "echo", Target: "tcp://" + target.Addr().String()}},
	})
	conn := dial(t, admit(t, td, store, "ursula", "user"))
	tun, err := conn.Tunnel(deadline(t), "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	err = store.Update(func(tx *acl.Tx) error {
		u, _ := tx.User("ursula")
		u.Expires = time.Now().Add(300 * time.Millisecond)
		return tx.SetUser(u)
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = tun.SetDeadline(time.Now().Add(patience))
	if _, err := tun.Read(make([]byte, 1)); !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("the tunnel of somebody whose time is over: %v", err)
	}
}

// TestModesAtTheDoor refuses in each of the ways that there are.
func TestModesAtTheDoor(t *testing.T) {
	var ran atomic.Bool
	mux := device.NewMux()
	mux.HandleFunc("PUT /light", func(device.ResponseWriter, *device.Request) { ran.Store(true) })
	var mode atomic.Uint32
	d := &device.Device{
		Identity: newIdentity(t), Access: newStore(t), Handler: mux,
		Authorize: func(_ context.Context, r *acl.Request) error {
			if r.Resource == "/light" {
				return acl.Refuse(acl.Mode(mode.Load()), "a test")
			}
			return nil
		},
	}
	var mu sync.Mutex
	var events []acl.Event
	d.Audit = func(e acl.Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	}
	td := serve(t, d)
	put := &client.Request{Method: client.PUT, Path: "/light", Body: []byte("on")}

	conn := dial(t, stranger(t, td))
	if _, err := conn.Do(deadline(t), put); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("respond: %v", err)
	}
	mode.Store(uint32(acl.Silent))
	if r, err := conn.Do(deadline(t), put); err != nil || r.Code.String() != "2.04" || len(r.Body) != 0 {
		t.Errorf("silent: %v, %v", r, err)
	}
	if _, err := conn.Get(deadline(t), "/light"); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("silent, of a GET: %v", err)
	}
	mode.Store(uint32(acl.Disconnect))
	if _, err := conn.Do(deadline(t), put); !errors.Is(err, latchkey.ErrForbidden) && !errors.Is(err, latchkey.ErrDisconnected) {
		t.Errorf("disconnect: %v", err)
	}
	select {
	case <-conn.Context().Done():
		if err := context.Cause(conn.Context()); !errors.Is(err, latchkey.ErrDisconnected) {
			t.Errorf("the session ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("the session goes on")
	}
	if ran.Load() {
		t.Error("a request that was refused ran")
	}
	if err := td.stop(); err != nil {
		t.Fatal(err)
	}
	refusals := slices.DeleteFunc(events, func(e acl.Event) bool { return e.Kind != acl.EventAccess || e.Outcome != acl.OutcomeRefused })
	if len(refusals) != 4 || refusals[1].Detail != "silent" || refusals[1].Object != "/light" || refusals[1].Key == (latchkey.Fingerprint{}) {
		t.Errorf("%d events of refusals: %+v", len(refusals), refusals)
	}
}

// stranger returns a client that knows the device as home, and no more.
func stranger(t *testing.T, td *testDevice) *client.Client {
	t.Helper()
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

// TestAbuse ends a session that does not take no for an answer.
func TestAbuse(t *testing.T) {
	store := newStore(t)
	td := serve(t, &device.Device{Identity: newIdentity(t), Access: store, Limits: device.Limits{Refusals: 5}})
	conn := dial(t, admit(t, td, store, "gus", acl.RoleGuest))
	for n := 0; conn.Context().Err() == nil; n++ {
		if n > 1000 {
			t.Fatal("the session goes on")
		}
		_, err := conn.Get(deadline(t), "/secret")
		if !errors.Is(err, latchkey.ErrForbidden) && !errors.Is(err, latchkey.ErrAbuse) {
			t.Fatalf("try %d: %v", n, err)
		}
		if n < 4 && errors.Is(err, latchkey.ErrAbuse) {
			t.Fatalf("ended after %d tries, 5 are allowed", n)
		}
	}
	if err := context.Cause(conn.Context()); !errors.Is(err, latchkey.ErrAbuse) {
		t.Errorf("the session ended with %v", err)
	}
}

// TestListingIsNoAbuse: what is not shown was not refused.
func TestListingIsNoAbuse(t *testing.T) {
	var services []device.Service
	for i := range 20 {
		services = append(services, device.Service{ID: fmt.Sprintf("s%d", i), Target: "tcp://127.0.0.1:1"})
	}
	store := newStore(t)
	td := serve(t, &device.Device{Identity: newIdentity(t), Access: store, Services: services, Limits: device.Limits{Refusals: 5}})
	conn := dial(t, admit(t, td, store, "gus", acl.RoleGuest))
	for range 3 {
		if _, err := conn.Services(deadline(t)); err != nil {
			t.Fatal(err)
		}
	}
}
