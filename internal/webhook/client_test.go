package webhook

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	quiet = slog.New(slog.DiscardHandler)
	noon  = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

// patient is long enough for everything that is not meant to be late.
const patient = MaxTimeout

func answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

// local serves h on a Unix socket and returns its URL.
func local(t *testing.T, h http.Handler) (*httptest.Server, string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	_ = s.Listener.Close()
	s.Listener = l
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Start()
	t.Cleanup(s.Close)
	return s, "unix:" + socket
}

// remote serves h by TLS on loopback, as 127.0.0.1 and example.com.
func remote(t *testing.T, h http.Handler) (*httptest.Server, *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s, roots
}

func open(t testing.TB, c Config) *Client {
	t.Helper()
	if c.Log == nil {
		c.Log = quiet
	}
	client, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func get(path string) *acl.Request { return &acl.Request{Action: "coap:get", Resource: path} }

func TestAnswers(t *testing.T) {
	var body atomic.Value
	_, where := local(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, body.Load().(string))
	}))
	c := open(t, Config{URL: where, Timeout: patient})
	for text, want := range map[string]bool{
		`{"result":true}`:             true,
		" {\n\"result\" : true }\r\n": true,
		`{"decision_id":"x","result":true,"metrics":{"a":[1,{"result":false}]}}`: true,
		`{"result":false}`:                    false,
		`{"r\u0065sult":false}`:               false,
		`{"result":"true"}`:                   false,
		`{"result":1}`:                        false,
		`{"result":null}`:                     false,
		`{"result":[true]}`:                   false,
		`{"result":{"allow":true}}`:           false,
		`{"result":{"result":true}}`:          false,
		`{}`:                                  false,
		`{"allow":true}`:                      false,
		`{"Result":true}`:                     false,
		`{"RESULT":true}`:                     false,
		`{"result ":true}`:                    false,
		`{"result":true,"result":true}`:       false,
		`{"result":false,"result":true}`:      false,
		`{"result":true,"r\u0065sult":false}`: false,
		`{"result":true}{"result":true}`:      false,
		`{"result":true}x`:                    false,
		`{"result":true,}`:                    false,
		`{"result":true`:                      false,
		`{"result":True}`:                     false,
		`{"a":1 "result":true}`:               false,
		`{"a":{"result":true}}`:               false,
		`[{"result":true}]`:                   false,
		`["result",true]`:                     false,
		`"result"`:                            false,
		`true`:                                false,
		`null`:                                false,
		``:                                    false,
		"\ufeff" + `{"result":true}`:          false,
		`<html>{"result":true}</html>`:        false,
		`{"x":"` + strings.Repeat("x", maxAnswer) + `","result":true}`:                        false,
		`{"result":true}` + strings.Repeat(" ", maxAnswer):                                    false,
		`{"x":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + `,"result":true}`: false,
		`{"x":"` + strings.Repeat("x", maxAnswer-100) + `","result":true}`:                    true,
	} {
		body.Store(text)
		err := c.Ask(t.Context(), get("/light"))
		if (err == nil) != want || err != nil && latchkey.CodeOf(err) != latchkey.CodeForbidden {
			t.Errorf("%.60q: %v", text, err)
		}
	}
}

// Whatever goes wrong refuses, and the server's part in it never takes longer
// than the timeout.
func TestFailures(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the end of the connection is noticed
		<-r.Context().Done()
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, `{"result":true}`)
		}
	}
	handlers := map[string]http.HandlerFunc{
		"silent": hang,
		"silent after the header": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		},
		"silent before the end": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"result":true}`)
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"result":true`)
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat(" ", 4096)); err != nil {
					return
				}
			}
		},
		"endless header": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 2*maxHeader))
			_, _ = io.WriteString(w, `{"result":true}`)
		},
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"result":true}`)
		},
		"closed": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"no HTTP": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, `{"result":true}`)
			_ = conn.Close()
		},
		"compressed": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "\x1f\x8b")
		},
	}
	for _, code := range []int{201, 202, 203, 204, 206, 301, 304, 400, 401, 403, 404, 418, 429, 500, 503, 599} {
		handlers[fmt.Sprint("status ", code)] = status(code)
	}
	for name, h := range handlers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, where := local(t, h)
			c := open(t, Config{URL: where, Timeout: 300 * time.Millisecond})
			if err := c.Ask(t.Context(), get("/light")); latchkey.CodeOf(err) != latchkey.CodeForbidden {
				t.Errorf("%v", err)
			}
		})
	}
}

// A redirect is not followed, not even to where yes would be said.
func TestRedirect(t *testing.T) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		var asked atomic.Int32
		_, where := local(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if r.URL.Path == "/yes" {
				_, _ = io.WriteString(w, `{"result":true}`)
				return
			}
			http.Redirect(w, r, "/yes", code)
		}))
		c := open(t, Config{URL: where, Timeout: patient})
		if err := c.Ask(t.Context(), get("/light")); latchkey.CodeOf(err) != latchkey.CodeForbidden || asked.Load() != 1 {
			t.Errorf("%d: %v after %d questions", code, err, asked.Load())
		}
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	for _, where := range []string{"unix:" + filepath.Join(t.TempDir(), "none"), "unix:" + t.TempDir(), "https://" + closed + "/?canary", "https://nobody.invalid/?canary"} {
		c := open(t, Config{URL: where, Timeout: patient})
		if err := c.Ask(t.Context(), get("/light")); latchkey.CodeOf(err) != latchkey.CodeForbidden || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", where, err)
		}
	}
}

func TestTLS(t *testing.T) {
	s, roots := remote(t, answer(`{"result":true}`))
	if err := open(t, Config{URL: s.URL, Roots: roots, Timeout: patient}).Ask(t.Context(), get("/light")); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewServer(answer(`{"result":true}`))
	t.Cleanup(plain.Close)
	for name, c := range map[string]Config{
		"nobody vouches":  {URL: s.URL},
		"another vouches": {URL: s.URL, Roots: x509.NewCertPool()},
		"wrong name":      {URL: "https://localhost:" + port, Roots: roots},
		"no TLS":          {URL: strings.Replace(plain.URL, "http:", "https:", 1), Roots: roots},
	} {
		c.Timeout = patient
		if err := open(t, c).Ask(t.Context(), get("/light")); latchkey.CodeOf(err) != latchkey.CodeForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The environment does not choose who decides.
func TestNoProxy(t *testing.T) {
	s, roots := remote(t, answer(`{"result":true}`))
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:9")
	}
	c := open(t, Config{URL: s.URL, Roots: roots, Timeout: patient})
	if c.http.Transport.(*http.Transport).Proxy != nil {
		t.Error("there is a proxy")
	}
	if err := c.Ask(t.Context(), get("/light")); err != nil {
		t.Error(err)
	}
}

// Connections are kept, few of them, and one that was closed meanwhile refuses
// nothing.
func TestConnections(t *testing.T) {
	var conns, most, now atomic.Int32
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(time.Millisecond)
		now.Add(-1)
		_, _ = io.WriteString(w, `{"result":true}`)
	})
	s := httptest.NewUnstartedServer(h)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c := open(t, Config{URL: s.URL, Roots: roots, Timeout: patient})
	for range 20 {
		if err := c.Ask(t.Context(), get("/light")); err != nil {
			t.Fatal(err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("20 questions took %d connections", n)
	}
	for range 20 {
		s.CloseClientConnections()
		if err := c.Ask(t.Context(), get("/light")); err != nil {
			t.Errorf("after the server closed its connections: %v", err)
		}
	}
	conns.Store(0)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if err := c.Ask(t.Context(), get("/light")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if conns.Load() > maxConns || most.Load() > maxConns {
		t.Errorf("200 questions at once took %d connections, %d at once", conns.Load(), most.Load())
	}
}

// A caller that goes away is no outage of the program, and gets no yes.
func TestCallerEnds(t *testing.T) {
	asked := make(chan struct{}, 1)
	_, where := local(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	var lines lineWriter
	c := open(t, Config{URL: where, Timeout: patient, Log: slog.New(slog.NewTextHandler(&lines, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if err := c.Ask(ctx, get("/light")); !errors.Is(err, context.Canceled) || latchkey.CodeOf(err) != latchkey.CodeForbidden {
		t.Errorf("%v", err)
	}
	if text := lines.String(); text != "" {
		t.Errorf("logged %s", text)
	}
}

type lineWriter struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lineWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lineWriter) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// An outage is told when it begins and when it ends.
func TestOutageLog(t *testing.T) {
	var broken atomic.Bool
	_, where := local(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, `{"result":false}`)
	}))
	var lines lineWriter
	c := open(t, Config{URL: where + ":/v1/data/x?canary=1", Timeout: patient, Log: slog.New(slog.NewTextHandler(&lines, nil))})
	for _, state := range []bool{false, true, false, true} {
		broken.Store(state)
		for range 3 {
			if err := c.Ask(t.Context(), get("/canary")); err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("%v", err)
			}
		}
	}
	text := lines.String()
	if strings.Count(text, "does not answer") != 2 || strings.Count(text, "answers again") != 1 || strings.Contains(text, "canary") {
		t.Errorf("logged\n%s", text)
	}
}

func TestToken(t *testing.T) {
	var asked atomic.Int32
	_, where := local(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, `{"result":true}`)
	}))
	c := open(t, Config{URL: where, Timeout: patient})
	for name, test := range map[string]struct {
		user   string
		action acl.Action
		now    time.Time
		want   latchkey.Code
	}{
		"valid":         {"", acl.CoAPGet, noon.Add(-time.Second), 0},
		"over":          {"", acl.CoAPGet, noon, latchkey.CodeTokenExpired},
		"long over":     {"", acl.TunnelOpen, noon.Add(time.Hour), latchkey.CodeTokenExpired},
		"clock unknown": {"", acl.CoAPGet, time.Time{}, latchkey.CodeForbidden},
		"of a user":     {"alice", acl.CoAPGet, noon.Add(time.Hour), 0},
		"a fresh one":   {"", acl.TokenLogin, noon.Add(time.Hour), 0},
	} {
		asked.Store(0)
		r := get("/light")
		r.User, r.Action, r.Time, r.Token = test.user, test.action, test.now, &acl.Token{Issuer: "i", Role: "guest", Expires: noon}
		err := c.Ask(t.Context(), r)
		if latchkey.CodeOf(err) != test.want || (asked.Load() == 1) != (err == nil) {
			t.Errorf("%s: %v after %d questions", name, err, asked.Load())
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{`{"result":true}`, `{"result":false}`, `{"result":"true"}`, `{"result":true,"result":true}`, `{"a":{"result":true}}`, `{"Result":true}`, `{"result":true}{}`, `[1`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		allowed, err := parseAnswer(body)
		if !allowed {
			return
		}
		var all map[string]json.RawMessage
		if bad := json.Unmarshal(body, &all); err != nil || bad != nil || string(all["result"]) != "true" {
			t.Errorf("%q is a yes (%v, %v)", body, err, bad)
		}
	})
}

func BenchmarkAsk(b *testing.B) {
	socket := filepath.Join(b.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		b.Fatal(err)
	}
	s := &http.Server{Handler: answer(`{"result":true}`), ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }() // ends with Close
	b.Cleanup(func() { _ = s.Close() })
	c := open(b, Config{URL: "unix:" + socket, Timeout: patient})
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Ask(b.Context(), get("/light")); err != nil {
			b.Fatal(err)
		}
	}
}
