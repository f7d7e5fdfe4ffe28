package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
)

// A diary is the events of a device.
type diary struct {
	mu   sync.Mutex
	list []acl.Event
}

func (d *diary) record(e acl.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, e)
}

// of returns the events of a kind and outcome about a user.
func (d *diary) of(kind acl.EventKind, outcome acl.Outcome, user string) []acl.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(d.list), func(e acl.Event) bool {
		return e.Kind != kind || e.Outcome != outcome || e.User != user
	})
}

// denied is a policy that denies actions everywhere, in a mode.
func denied(t *testing.T, name string, mode acl.Mode, actions ...string) *acl.Policy {
	t.Helper()
	p, err := acl.NewPolicy(name, acl.Statement{Effect: acl.Deny, Mode: mode, Actions: actions, Resources: []string{"**"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// give gives a user a policy of its own.
func give(t *testing.T, store *acl.Store, user string, p *acl.Policy) {
	t.Helper()
	update(t, store, func(tx *acl.Tx) error {
		u, _ := tx.User(user)
		u.Policies = []string{p.Name()}
		return errors.Join(tx.PutPolicy(p), tx.SetUser(u))
	})
}

// TestSilence: what is refused in silence is acknowledged, changes nothing, is
// told to no observer and no upstream server, and is written down.
func TestSilence(t *testing.T) {
	var reached atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(upstream.Close)
	var light atomic.Pointer[string]
	set := func(s string) { light.Store(&s) }
	set("off")
	var td *testDevice
	mux := device.NewMux()
	mux.HandleObservable("GET /light", device.HandlerFunc(func(w device.ResponseWriter, _ *device.Request) { _, _ = io.WriteString(w, *light.Load()) }))
	for _, method := range []string{"PUT", "POST", "DELETE", "PATCH", "IPATCH"} {
		mux.HandleFunc(method+" /light", func(_ device.ResponseWriter, r *device.Request) {
			set(string(r.Body))
			td.Notify("/light")
		})
	}
	var events diary
	store := newStore(t)
	td = serve(t, &device.Device{
		Identity: newIdentity(t), Access: store, Handler: mux, Audit: events.record,
		Routes: []device.Route{{Path: "/up/**", To: upstream.URL}},
	})
	owner := dial(t, admit(t, td, store, "olga", acl.RoleUser))
	conn := dial(t, admit(t, td, store, "mallory", acl.RoleUser))
	give(t, store, "mallory", denied(t, "mute", acl.Silent, "coap:put", "coap:post", "coap:delete", "coap:patch", "coap:ipatch", "route:put", "route:delete"))

	states := make(chan string, 16)
	ctx, cancel := context.WithCancel(deadline(t))
	var watching sync.WaitGroup
	watching.Go(func() {
		for r, err := range owner.Observe(ctx, "/light") {
			if err != nil {
				return
			}
			states <- string(r.Body)
		}
	})
	defer watching.Wait()
	defer cancel()
	if s := <-states; s != "off" {
		t.Fatalf("at first it is %q", s)
	}
	tries := 0
	for _, path := range []string{"/light", "/up/light"} {
		methods := []client.Method{client.PUT, client.DELETE}
		if path == "/light" {
			methods = append(methods, client.POST, client.PATCH, client.IPATCH)
		}
		for _, m := range methods {
			for _, body := range []string{"on", strings.Repeat("on", 4000)} {
				if m == client.DELETE && len(body) > 2 {
					continue
				}
				r := &client.Request{Method: m, Path: path, Body: []byte(body)}
				answer, err := conn.Do(deadline(t), r)
				if err != nil || answer.Code.String() != "2.04" || len(answer.Body) != 0 {
					t.Errorf("%v %s of %d bytes: %+v, %v", m, path, len(body), answer, err)
				}
				tries++
			}
		}
	}
	if r, err := conn.Get(deadline(t), "/light"); err != nil || string(r.Body) != "off" {
		t.Errorf("afterwards it is %v, %v", r, err)
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests reached the upstream server", n)
	}
	if list := events.of(acl.EventAccess, acl.OutcomeRefused, "mallory"); len(list) != tries || slices.ContainsFunc(list, func(e acl.Event) bool { return e.Detail != "silent" }) {
		t.Errorf("%d events of %d refusals: %+v", len(list), tries, list)
	}
	// The next thing that the observer hears is the next thing that happens.
	if _, err := owner.Do(deadline(t), &client.Request{Method: client.PUT, Path: "/light", Body: []byte("dim")}); err != nil {
		t.Fatal(err)
	}
	if s := <-states; s != "dim" {
		t.Errorf("the observer heard %q", s)
	}
}

// TestEndedByARefusal: a session that asks for what it should not, or too often,
// ends with everything in it, and the program that used it can say why.
func TestEndedByARefusal(t *testing.T) {
	tests := []struct {
		name   string
		want   error
		text   string
		policy *acl.Policy
		sin    func(*client.Conn) error // until it ends the session
	}{
		{"a request", latchkey.ErrDisconnected, "a request that is not allowed", denied(t, "trap", acl.Disconnect, "coap:delete"), func(c *client.Conn) error {
			_, err := c.Do(deadline(t), client.NewRequest(client.DELETE, "/light"))
			return err
		}},
		{"an observation", latchkey.ErrDisconnected, "a request that is not allowed", denied(t, "trap", acl.Disconnect, "coap:fetch"), func(c *client.Conn) error {
			_, err := c.Do(deadline(t), client.NewRequest(client.FETCH, "/state"))
			return err
		}},
		{"abuse", latchkey.ErrAbuse, "too many refused requests", denied(t, "trap", acl.Respond, "coap:delete"), func(c *client.Conn) error {
			for range 100 {
				_, err := c.Do(deadline(t), client.NewRequest(client.DELETE, "/light"))
				if !errors.Is(err, latchkey.ErrForbidden) {
					return err
				}
			}
			return errors.New("it goes on")
		}},
		{"abuse by tunnels", latchkey.ErrAbuse, "too many refused requests", denied(t, "trap", acl.Respond, "coap:delete"), func(c *client.Conn) error {
			for range 100 {
				_, err := c.Tunnel(deadline(t), "nothing")
				if !errors.Is(err, latchkey.ErrForbidden) && !errors.Is(err, latchkey.ErrNotFound) {
					return err
				}
				_, err = c.Do(deadline(t), client.NewRequest(client.DELETE, "/light"))
				if !errors.Is(err, latchkey.ErrForbidden) {
					return err
				}
			}
			return errors.New("it goes on")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLedger(t)
			defer l.close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var events diary
			store := newStore(t)
			td := serve(t, &device.Device{
				Identity: newIdentity(t), Access: store, Handler: l.handler(), Audit: events.record, Limits: device.Limits{Refusals: 5},
				Services: []device.Service{{ID: "echo", Target: "tcp://" + echo(t, "tcp", "127.0.0.1:0").Addr().String()}},
			})
			neighbour := dial(t, admit(t, td, store, "nora", acl.RoleUser))
			l.begin(ctx, "nora", neighbour)
			c := admit(t, td, store, "mallory", acl.RoleUser)
			give(t, store, "mallory", tt.policy)
			conn := dial(t, c)
			l.begin(ctx, "mallory", conn)
			if err := tt.sin(conn); !errors.Is(err, tt.want) && !errors.Is(err, latchkey.ErrForbidden) {
				t.Errorf("the deed itself: %v", err)
			}
			l.ends("mallory", tt.want)
			<-conn.Context().Done()
			if err := context.Cause(conn.Context()); !errors.Is(err, tt.want) {
				t.Errorf("the session ended with %v", err)
			}
			if _, err := conn.Get(deadline(t), "/state"); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("a further request: %v", err)
			}
			l.unharmed("nora", neighbour)
			await(t, "an event of the end", func() bool { return len(events.of(acl.EventSession, acl.OutcomeRefused, "mallory")) > 0 })
			list := events.of(acl.EventSession, acl.OutcomeRefused, "mallory")
			if len(list) != 1 || list[0].Code != latchkey.CodeOf(tt.want) {
				t.Errorf("events %+v", list)
			}
			// It may come back, and behave.
			if _, err := dial(t, c).Get(deadline(t), "/state"); err != nil {
				t.Errorf("a new session: %v", err)
			}
		})
	}
}

// TestForwardIsToldWhy: who forwards a port to a service that is a trap is reset,
// and the program ends with the reason.
func TestForwardIsToldWhy(t *testing.T) {
	store := newStore(t)
	target := "tcp://" + echo(t, "tcp", "127.0.0.1:0").Addr().String()
	td := serve(t, &device.Device{
		Identity: newIdentity(t), Access: store,
		Services: []device.Service{{ID: "echo", Target: target}, {ID: "trap", Target: target}},
	})
	c := admit(t, td, store, "mallory", acl.RoleUser)
	addrs, done := make(chan string, 2), make(chan error, 1)
	go func() { // ends with the farewell of the device
		forwards := []client.Forward{{Service: "echo", Local: "127.0.0.1:0"}, {Service: "trap", Local: "127.0.0.1:0"}}
		done <- c.Forward(deadline(t), "home", forwards, client.ForwardOptions{
			Event: func(e client.ForwardEvent) {
				if e.Kind == "listening" {
					addrs <- e.Addr
				}
			},
		})
	}()
	say(t, <-addrs)
	trap := <-addrs
	p, err := acl.NewPolicy("trap", acl.Statement{
		Effect: acl.Deny, Mode: acl.Disconnect, Actions: []string{"tunnel:open"}, Resources: []string{"trap"},
	})
	if err != nil {
		t.Fatal(err)
	}
	give(t, store, "mallory", p)
	if local, err := net.Dial("tcp", trap); err == nil { // else it was reset already
		defer local.Close()
		_ = local.SetDeadline(time.Now().Add(patience))
		if n, err := local.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
	}
	if err := <-done; !errors.Is(err, latchkey.ErrDisconnected) {
		t.Errorf("Forward ended with %v", err)
	}
}
