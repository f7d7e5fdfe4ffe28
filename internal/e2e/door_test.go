package e2e

import (
	"context"
	"errors"
	"fmt"
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

// A guarded device has something of everything behind its door, and counts
// what gets through.
type guarded struct {
	*testDevice
	reached atomic.Int64 // handlers, upstream servers and targets
	conn    *client.Conn
}

func guard(t *testing.T, hook device.AuthorizeFunc) *guarded {
	t.Helper()
	g := &guarded{}
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
			c.Close()
		}
	})
	t.Cleanup(func() { target.Close(); accepting.Wait() })
	mux := device.NewMux()
	count := func(device.ResponseWriter, *device.Request) { g.reached.Add(1) }
	for _, m := range []string{"GET", "POST", "PUT", "DELETE", "FETCH", "PATCH", "IPATCH"} {
		mux.HandleFunc(m+" /app/{x...}", count)
	}
	mux.HandleObservable("GET /watch", device.HandlerFunc(count))
	g.testDevice = serve(t, &device.Device{
		Identity: newIdentity(t), Access: newStore(t), Authorize: hook, Handler: mux,
		Services: []device.Service{{ID: "ssh", Target: "tcp://" + target.Addr().String()}},
		Routes:   []device.Route{{Path: "/cam/**", To: upstream.URL}},
		Limits:   device.Limits{Refusals: 1 << 20},
	})
	c := newClient(t)
	known, err := c.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	if err := known.Add(client.Device{Alias: "home", ID: g.info.ID, Key: g.info.Fingerprint, Addrs: g.info.PairingURL.Addrs}); err != nil {
		t.Fatal(err)
	}
	g.conn = dial(t, c)
	return g
}

// methods that a request can have.
var methods = []client.Method{client.GET, client.POST, client.PUT, client.DELETE, client.FETCH, client.PATCH, client.IPATCH}

// paths of every kind: the device's own, known and unknown to mux and routes.
var paths = []string{
	"/", "/.well-known/core", "/device/info", "/services", "/me", "/pairing", "/pairing/local-initial",
	"/app/", "/app/x", "/app/x/y?q=1", "/watch", "/cam/", "/cam/a/b?c=d", "/nothing", "/device", "/pairing/other",
}

func TestRefusingHookLetsNothingThrough(t *testing.T) {
	var asked atomic.Int64
	g := guard(t, func(context.Context, *acl.Request) error {
		asked.Add(1)
		return latchkey.ErrForbidden
	})
	operations := int64(1) // the client asks by itself how to reach the device from elsewhere
	for _, m := range methods {
		for _, path := range paths {
			r := client.NewRequest(m, path)
			if m != client.GET && m != client.DELETE {
				r.Body = []byte("body")
			}
			if _, err := g.conn.Do(deadline(t), r); !errors.Is(err, latchkey.ErrForbidden) {
				t.Errorf("%v %s: %v", m, path, err)
			}
			operations++
		}
	}
	big := &client.Request{Method: client.PUT, Path: "/app/big", Body: make([]byte, 100_000)}
	if _, err := g.conn.Do(deadline(t), big); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("PUT in blocks: %v", err)
	}
	operations++
	for _, path := range []string{"/watch", "/cam/a", "/app/x", "/device/info"} {
		for _, err := range g.conn.Observe(deadline(t), path) {
			if !errors.Is(err, latchkey.ErrForbidden) {
				t.Errorf("observe %s: %v", path, err)
			}
			break
		}
		operations++
	}
	for _, service := range []string{"ssh", "nothing", "SSH", "../ssh", "127.0.0.1:22"} {
		if _, err := g.conn.Tunnel(deadline(t), service); !errors.Is(err, latchkey.ErrForbidden) {
			t.Errorf("tunnel %q: %v", service, err)
		}
		operations++
	}
	if _, err := g.conn.TunnelUDP(deadline(t), "ssh"); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("flow: %v", err)
	}
	operations++
	g.Notify("/watch") // nobody can be watching
	if n := g.reached.Load(); n != 0 {
		t.Errorf("%d operations got through a door that refuses", n)
	}
	if n := asked.Load(); n != operations {
		t.Errorf("the hook was asked %d times for %d operations", n, operations)
	}
}

func TestRecordingHookSeesEverythingOnce(t *testing.T) {
	var mu sync.Mutex
	var seen, listed []string
	g := guard(t, func(_ context.Context, r *acl.Request) error {
		mu.Lock()
		defer mu.Unlock()
		if asked := string(r.Action) + " " + r.Resource + " " + r.Target; r.Listing {
			listed = append(listed, asked)
		} else {
			seen = append(seen, asked)
		}
		return nil
	})
	status, err := g.Status()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range methods {
		for _, path := range []string{"/app/x", "/nothing", "/device/info"} {
			_, _ = g.conn.Do(deadline(t), client.NewRequest(m, path))
			want = append(want, action("coap", m)+" "+path+" ")
		}
	}
	_, _ = g.conn.Get(deadline(t), "/.well-known/core")
	_, _ = g.conn.Get(deadline(t), "/services")
	_, _ = g.conn.Get(deadline(t), "/cam/a/b?c=d")
	_, _ = g.conn.Get(deadline(t), "/pairing")
	want = append(want, "coap:get /.well-known/core ", "coap:get /services ", "pair:read /pairing ")
	want = append(want, "self:read  ") // the client asks by itself how to reach the device from elsewhere
	for deadline(t).Err() == nil {
		mu.Lock()
		asked := slices.Contains(seen, "self:read  ")
		mu.Unlock()
		if asked {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for r, err := range g.conn.Observe(deadline(t), "/watch") {
		if err != nil {
			t.Fatal(err)
		}
		_ = r
		want = append(want, "coap:observe /watch ")
		if g.Notify("/watch"); len(want) == len(methods)*3+4+3 {
			break // the first answer and two notifications
		}
	}
	want = append(want, "coap:get /watch ") // the end of an observation is a GET with Observe 1
	if conn, err := g.conn.Tunnel(deadline(t), "ssh"); err == nil {
		conn.Close()
	}
	want = append(want, "tunnel:open ssh "+status.Services[0].Target)
	mu.Lock()
	defer mu.Unlock()
	var got []string
	routes := 0
	for _, s := range seen {
		if len(s) > 6 && s[:6] == "route:" {
			routes++
			continue
		}
		got = append(got, s)
	}
	// The last Notify may still be asked about while the observation ends.
	if extra := len(got) - len(want); extra == 1 {
		at := slices.Index(got, "coap:observe /watch ")
		got = slices.Delete(got, at, at+1)
	}
	slices.Sort(got)
	slices.Sort(want)
	target := "ssh " + status.Services[0].Target
	for _, asked := range []string{"service:list " + target, "tunnel:open " + target} {
		if !slices.Contains(listed, asked) {
			t.Errorf("the list of services was made without asking %s: %v", asked, listed)
		}
	}
	if !slices.Equal(got, want) || routes != 1 {
		t.Errorf("%d routes, and seen\n%v\nwant\n%v", routes, got, want)
	}
}

func action(kind string, m client.Method) string {
	return kind + ":" + map[client.Method]string{
		client.GET: "get", client.POST: "post", client.PUT: "put", client.DELETE: "delete",
		client.FETCH: "fetch", client.PATCH: "patch", client.IPATCH: "ipatch",
	}[m]
}

func TestRouteIsJudgedByItsExactURL(t *testing.T) {
	var mu sync.Mutex
	var url string
	g := guard(t, func(_ context.Context, r *acl.Request) error {
		mu.Lock()
		defer mu.Unlock()
		if r.Action != acl.SelfRead { // the client asks that by itself, at any time
			url = fmt.Sprintf("%s %s", r.Action, r.Resource)
		}
		return nil
	})
	if _, err := g.conn.Get(deadline(t), "/cam/a%20b/c?x=1&y=%C3%BC"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := "/a%20b/c?x=1&y=%C3%BC"; len(url) < len(want) || url[len(url)-len(want):] != want || url[:16] != "route:get http:/" {
		t.Errorf("the door judged %q", url)
	}
	if g.reached.Load() != 1 {
		t.Errorf("upstream was reached %d times", g.reached.Load())
	}
}
