package device_test

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/latchkey-dev/latchkey/pairing"
)

// TestEveryOperationHasAnAction fails for a resource that nobody could write a
// policy about.
func TestEveryOperationHasAnAction(t *testing.T) {
	entries := device.Entries()
	if len(entries) < 30 {
		t.Fatalf("the table has %d entries; is it the right one?", len(entries))
	}
	covered := make(map[acl.Action]bool)
	seen := make(map[string]bool)
	for _, e := range entries {
		name := fmt.Sprint(e.Method, " ", e.Pattern)
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
		for _, a := range e.Actions {
			if !slices.Contains(acl.Actions(), a) {
				t.Errorf("%s is judged as %q, which is no action", name, a)
			}
			covered[a] = true
		}
		if e.Method != client.GET && strings.HasPrefix(string(e.Actions[0]), "coap:") {
			t.Errorf("%s changes something and is judged as %q, like a resource of the application", name, e.Actions[0])
		}
	}
	// What is no resource of the device itself has an action, too.
	for _, a := range acl.Actions() {
		what, _, _ := strings.Cut(string(a), ":")
		if !covered[a] && what != "coap" && what != "route" && a != acl.TunnelOpen && a != acl.ServiceList {
			t.Errorf("%s is an action of nothing", a)
		}
	}
}

// A gated is a bed with something of everything behind a hook, which counts what
// gets through and what the hook was asked.
type gated struct {
	*bed
	conn    *client.Conn
	reached atomic.Int64
	mu      sync.Mutex
	asked   []acl.Request
}

func newGated(t *testing.T, hook device.AuthorizeFunc, limits device.Limits) *gated {
	t.Helper()
	g := &gated{}
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { g.reached.Add(1) }))
	t.Cleanup(upstream.Close)
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := target.Accept()
			if err != nil {
				return
			}
			g.reached.Add(1)
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = target.Close(); accepting.Wait() })
	limits.Refusals = 1 << 20
	g.bed = newBed(t, func(d *device.Device) {
		d.Pairing = pairing.LocalInitial | pairing.LocalOpen
		d.Handler = device.HandlerFunc(func(device.ResponseWriter, *device.Request) { g.reached.Add(1) })
		d.Services = []device.Service{{ID: "ssh", Target: "tcp://" + target.Addr().String()}}
		d.Routes = []device.Route{{Path: "/cam/**", To: upstream.URL}}
		d.Limits = limits
		d.Authorize = func(ctx context.Context, r *acl.Request) error {
			if !r.Listing {
				g.mu.Lock()
				g.asked = append(g.asked, *r)
				g.mu.Unlock()
			}
			return hook(ctx, r)
		}
	})
	g.conn = g.dial()
	return g
}

// example is a path that the pattern takes.
func example(pattern string) string {
	for _, name := range []string{"user", "role", "policy", "key", "id", "mode"} {
		pattern = strings.ReplaceAll(pattern, "{"+name+"}", "some")
	}
	return pattern
}

// An act is something that a peer can ask for, and how it is judged.
type act struct {
	name    string
	actions []acl.Action
	do      func() error
}

var methods = map[string]client.Method{
	"get": client.GET, "post": client.POST, "put": client.PUT, "delete": client.DELETE,
	"fetch": client.FETCH, "patch": client.PATCH, "ipatch": client.IPATCH,
}

// acts lists everything that there is, from the table and beside it.
func (g *gated) acts() (list []act) {
	request := func(m client.Method, path string, body int, actions ...acl.Action) {
		r := client.NewRequest(m, path)
		if body > 0 {
			r.Format, r.Body = client.FormatJSON, make([]byte, body)
		}
		list = append(list, act{fmt.Sprint(m, " ", path), actions, func() error {
			_, err := g.conn.Do(g.ctx(), r)
			return err
		}})
	}
	own := make(map[string]bool)
	for _, e := range device.Entries() {
		path := example(e.Pattern)
		own[fmt.Sprint(e.Method, path)] = true
		request(e.Method, path, 2, e.Actions...)
	}
	for name, m := range methods {
		request(m, "/app/x", 0, acl.Action("coap:"+name))
		request(m, "/cam/x", 0, acl.Action("route:"+name))
		for _, e := range device.Entries() {
			if path := example(e.Pattern); !own[fmt.Sprint(m, path)] {
				own[fmt.Sprint(m, path)] = true
				request(m, path, 0, acl.Action("coap:"+name)) // no such method there
			}
		}
	}
	request(client.PUT, "/app/blocks", 5000, acl.CoAPPut)
	list = append(list, act{"observe", []acl.Action{acl.CoAPGet}, func() error {
		for _, err := range g.conn.Observe(g.ctx(), "/app/x") {
			return err
		}
		return nil
	}})
	list = append(list, act{"observe a route", []acl.Action{acl.RouteObserve}, func() error {
		for _, err := range g.conn.Observe(g.ctx(), "/cam/x") {
			return err
		}
		return nil
	}})
	for _, service := range []string{"ssh", "nothing"} {
		list = append(list, act{"tunnel " + service, []acl.Action{acl.TunnelOpen}, func() error {
			c, err := g.conn.Tunnel(g.ctx(), service)
			if err == nil {
				_ = c.Close()
			}
			return err
		}})
	}
	list = append(list, act{"flow", []acl.Action{acl.TunnelOpen}, func() error {
		c, err := g.conn.TunnelUDP(g.ctx(), "ssh")
		if err == nil {
			_ = c.Close()
		}
		return err
	}})
	return list
}

// byItself reports what the client asks whenever it likes.
func byItself(r acl.Request) bool { return r.Action == acl.SelfRead && r.Resource == "" }

// TestCountingHook lets nothing be done that the door was not asked about, once,
// and by an action that policies can name.
func TestCountingHook(t *testing.T) {
	g := newGated(t, func(context.Context, *acl.Request) error { return latchkey.ErrForbidden }, device.Limits{})
	changed := g.access.Changed()
	for _, a := range g.acts() {
		g.mu.Lock()
		g.asked = nil
		g.mu.Unlock()
		if err := a.do(); !errors.Is(err, latchkey.ErrForbidden) {
			t.Errorf("%s: %v", a.name, err)
		}
		g.mu.Lock()
		asked := g.asked
		g.mu.Unlock()
		if !slices.Contains(a.actions, acl.SelfRead) {
			asked = slices.DeleteFunc(asked, byItself)
		}
		if len(asked) == 0 || !slices.Contains(a.actions, asked[0].Action) || len(asked) > 1 && !byItself(asked[1]) {
			t.Errorf("%s was judged as %+v, want %v once", a.name, asked, a.actions)
		}
	}
	g.untouched(t, changed)
}

func (g *gated) untouched(t *testing.T, changed <-chan struct{}) {
	t.Helper()
	if n := g.reached.Load(); n != 0 {
		t.Errorf("%d operations got through a door that refuses", n)
	}
	select {
	case <-changed:
		t.Error("something was changed through a door that refuses")
	default:
	}
}

// TestBrokenHooks refuses everything, whatever is wrong with the hook.
func TestBrokenHooks(t *testing.T) {
	for name, hook := range map[string]device.AuthorizeFunc{
		"panics":       func(context.Context, *acl.Request) error { panic("oops") },
		"fails":        func(context.Context, *acl.Request) error { return errors.New("no connection to the database") },
		"panics a nil": func(context.Context, *acl.Request) error { var r *acl.Request; return errors.New(r.Resource) },
		"answers late": func(ctx context.Context, _ *acl.Request) error { <-ctx.Done(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGated(t, hook, device.Limits{AuthorizeTime: 50 * time.Millisecond})
			changed := g.access.Changed()
			var work sync.WaitGroup
			places := make(chan struct{}, 8)
			for _, a := range g.acts() {
				places <- struct{}{}
				work.Go(func() {
					defer func() { <-places }()
					if err := a.do(); !errors.Is(err, latchkey.ErrForbidden) {
						t.Errorf("%s: %v", a.name, err)
					}
				})
			}
			work.Wait()
			g.untouched(t, changed)
		})
	}
}

// TestHangingHook occupies a place for each call, and no more.
func TestHangingHook(t *testing.T) {
	release := make(chan struct{})
	g := newGated(t, func(context.Context, *acl.Request) error { <-release; return nil },
		device.Limits{AuthorizeTime: 20 * time.Millisecond, AuthorizeCalls: 4})
	defer close(release)
	changed := g.access.Changed()
	for _, a := range g.acts()[:40] {
		if err := a.do(); !errors.Is(err, latchkey.ErrForbidden) && !errors.Is(err, latchkey.ErrTooMany) {
			t.Errorf("%s: %v", a.name, err)
		}
	}
	g.untouched(t, changed)
}
