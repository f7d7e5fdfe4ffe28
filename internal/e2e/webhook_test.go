package e2e

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/webhook"
	"github.com/latchkey-dev/latchkey/pairing"
)

// decides serves on a Unix socket until stop is called.
func decides(t *testing.T, socket string, answer http.HandlerFunc) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: answer}
	var work sync.WaitGroup
	work.Go(func() { _ = s.Serve(l) })
	stop = sync.OnceFunc(func() {
		_ = s.Close() // with every connection, at whatever it is
		work.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// TestWebhookDies: another program decides for a device, and dies, or hangs, or
// talks nonsense while much is under way. Then nothing is allowed, what goes on
// is ended, and as soon as it is back all is well again.
func TestWebhookDies(t *testing.T) {
	yes := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"result":true}`)) }
	over := make(chan struct{})
	deaths := map[string]http.HandlerFunc{
		"dies":  nil,
		"hangs": func(_ http.ResponseWriter, r *http.Request) { <-over },
		"fails": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"result":true}`, http.StatusInternalServerError)
		},
		"has no opinion": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{}`)) },
		"breaks off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "15")
			_, _ = w.Write([]byte(`{"result":tr`))
			panic(http.ErrAbortHandler)
		},
	}
	defer sync.OnceFunc(func() { close(over) })()
	for name, death := range deaths {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			stop := decides(t, socket, yes)
			hook, err := webhook.New(webhook.Config{URL: "unix:" + socket, Timeout: 300 * time.Millisecond, Log: testLog(t)})
			if err != nil {
				t.Fatal(err)
			}
			defer hook.Close()
			l := newLedger(t)
			defer l.close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			store := newStore(t)
			td := serve(t, &device.Device{
				Identity: newIdentity(t), Access: store, Authorize: hook.Ask, Handler: l.handler(), Pairing: pairing.LocalInitial,
				Services: []device.Service{{ID: "echo", Target: "tcp://" + echo(t, "tcp", "127.0.0.1:0").Addr().String()}},
				Limits:   device.Limits{Refusals: 1000},
			})
			conn := dial(t, admit(t, td, store, "vic", acl.RoleUser))
			l.begin(ctx, "vic", conn)

			stop()
			if death != nil {
				stop = decides(t, socket, death)
			}
			if _, err := conn.Get(deadline(t), "/state"); !errors.Is(err, latchkey.ErrForbidden) {
				t.Errorf("a request: %v", err)
			}
			if tun, err := conn.Tunnel(deadline(t), "echo"); !errors.Is(err, latchkey.ErrForbidden) {
				t.Errorf("a tunnel: %v, %v", tun, err)
			}
			if p, err := newClient(t).Pair(deadline(t), td.info.PairingURL, client.PairOptions{Alias: "home", User: "owner"}); err == nil {
				t.Errorf("paired: %+v", p)
			}
			if list := users(t, store); len(list) != 1 {
				t.Errorf("users %v", list)
			}
			td.Review()
			for range 3 {
				select {
				case e := <-l.ended:
					if !errors.Is(e.err, latchkey.ErrRevoked) && !errors.Is(e.err, latchkey.ErrForbidden) {
						t.Errorf("the %s ended with %v", e.what, e.err)
					}
				case <-time.After(patience):
					t.Fatal("it goes on")
				}
			}
			if death != nil {
				stop()
			}
			decides(t, socket, yes)
			if _, err := conn.Get(deadline(t), "/state"); err != nil {
				t.Errorf("when it is back: %v", err)
			}
			l.begin(ctx, "vic", conn)
		})
	}
}
