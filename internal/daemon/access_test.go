package daemon

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/settings"
)

// An owner is a program that decides.
type owner struct {
	*httptest.Server
	socket string
	no     atomic.Bool

	mu    sync.Mutex
	asked []string // whole bodies
}

func newOwner(t *testing.T) *owner {
	t.Helper()
	o := &owner{socket: filepath.Join(shortDir(t), "s")}
	l, err := net.Listen("unix", o.socket)
	check(t, err)
	o.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		o.mu.Lock()
		o.asked = append(o.asked, string(body))
		o.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]bool{"result": !o.no.Load()})
	}))
	_ = o.Listener.Close()
	o.Listener = l
	o.Start()
	t.Cleanup(o.Close)
	return o
}

// questions returns and forgets what the owner was asked.
func (o *owner) questions() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := strings.Join(o.asked, "\n")
	o.asked = nil
	return all
}

func TestWebhook(t *testing.T) {
	first, second := newOwner(t), newOwner(t)
	dir := initDir(t)
	edit(t, dir, "authorize: {}", "authorize: {webhook: 'unix:"+first.socket+"', timeout: 10s}")
	r := start(t, dir)
	conn := owned(t, dir)
	get := func() latchkey.Code {
		_, err := conn.Get(t.Context(), "/device/info")
		return latchkey.CodeOf(err)
	}
	if got := first.questions(); !strings.Contains(got, `"action":"pair:local-initial"`) {
		t.Errorf("while pairing the owner was asked\n%s", got)
	}

	if code := get(); code != 0 {
		t.Errorf("allowed by the owner: %v", code)
	}
	if got := first.questions(); !strings.Contains(got, `"user":"alice","role":"admin","action":"coap:get","resource":"/device/info"`) {
		t.Errorf("the owner was asked\n%s", got)
	}
	_, err := conn.Do(t.Context(), &client.Request{Method: client.PUT, Path: "/light", Accept: client.NoFormat, Body: []byte("canary")})
	if code := latchkey.CodeOf(err); code != latchkey.CodeNotFound {
		t.Errorf("PUT /light: %v", err)
	}
	if got := first.questions(); !strings.Contains(got, "coap:put") || strings.Contains(got, "canary") {
		t.Errorf("the owner was asked\n%s", got)
	}
	first.no.Store(true)
	if code := get(); code != latchkey.CodeForbidden {
		t.Errorf("refused by the owner, an administrator got %v", code)
	}

	edit(t, dir, first.socket, second.socket)
	r.hup(t, "msg=reloaded")
	if code := get(); code != 0 || first.questions() == "" || second.questions() == "" {
		t.Errorf("after the reload: %v", code)
	}
	if code := get(); code != 0 || first.questions() != "" {
		t.Errorf("the owner of before the reload was asked too: %v", code)
	}
	edit(t, dir, "authorize:", "#")
	r.hup(t, "next start")
	if code := get(); code != 0 || second.questions() == "" {
		t.Errorf("without a webhook in the file: %v", code)
	}
	second.Close()
	if code := get(); code != latchkey.CodeForbidden {
		t.Errorf("without the owner: %v", code)
	}
	r.log.await(t, "webhook does not answer")
}

// Issuers come and go with a reload.
func TestReloadIssuers(t *testing.T) {
	dir := initDir(t)
	r := start(t, dir)
	conn := owned(t, dir)
	login := func() latchkey.Code {
		_, err := conn.Do(t.Context(), &client.Request{Method: client.POST, Path: "/token", Accept: client.NoFormat, Body: []byte("a.b.c")})
		return latchkey.CodeOf(err)
	}
	if code := login(); code != latchkey.CodeNotFound {
		t.Errorf("without issuers: %v", code)
	}
	const issuer = "tokens: [{issuer: i, jwks: 'https://idp.example/', roles: {staff: user}}]"
	edit(t, dir, "tokens: []", issuer)
	r.hup(t, "msg=reloaded")
	if code := login(); code != latchkey.CodeForbidden {
		t.Errorf("with an issuer: %v", code)
	}
	edit(t, dir, issuer, "tokens: []")
	edit(t, dir, "127.0.0.1:0", "127.0.0.1:1")
	r.hup(t, "next start")
	if code := login(); code != latchkey.CodeNotFound {
		t.Errorf("without issuers again: %v", code)
	}
}

// owned pairs a client with the daemon on dir and connects to it.
func owned(t *testing.T, dir string) *client.Conn {
	t.Helper()
	text, err := control(t, dir).PairingURL(t.Context())
	check(t, err)
	u, err := latchkey.ParsePairingURL(text)
	check(t, err)
	c := &client.Client{Dir: t.TempDir(), NoDiscovery: true}
	_, err = c.Pair(t.Context(), u, client.PairOptions{Alias: "home", User: "alice"})
	check(t, err)
	conn, err := c.Dial(t.Context(), "home")
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// A file with certificates is looked for beside the configuration, and a Unix
// socket needs none.
func TestWebhookCA(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	dir := t.TempDir()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	check(t, os.WriteFile(filepath.Join(dir, "ca.pem"), text, 0o600))
	path := filepath.Join(dir, ConfigFile)
	got, err := ParseConfig(path, []byte("authorize: {webhook: 'https://opa.example', ca: ca.pem}\n"))
	check(t, err)
	want := x509.NewCertPool()
	want.AddCert(s.Certificate())
	if !want.Equal(got.Authorize.Roots) {
		t.Error("the certificates are others")
	}
	_, err = ParseConfig(path, []byte("authorize: {webhook: 'unix:/run/opa.sock', ca: ca.pem}\n"))
	var e *settings.Error
	if !errors.As(err, &e) || e.Column != 48 || !strings.Contains(e.Message, "Unix socket") {
		t.Errorf("%v", err)
	}
}

// Explain asks the program that decides, and says so; the policies stand beside.
func TestExplainAsksTheWebhook(t *testing.T) {
	o := newOwner(t)
	for _, run := range []bool{false, true} {
		dir := initDir(t)
		edit(t, dir, "authorize: {}", "authorize: {webhook: 'unix:"+o.socket+"', timeout: 10s}")
		if run {
			start(t, dir)
		}
		c := control(t, dir)
		q := Question{Action: acl.CoAPGet, Resource: "/light", Claims: map[string][]string{"team": {"blue", "red"}, "sub": {"x"}}}
		e, err := c.Explain(t.Context(), q)
		if err != nil || !e.Allowed || e.Webhook != "unix:"+o.socket || len(e.Trace) == 0 {
			t.Errorf("running %v: %+v, %v", run, e, err)
		}
		if got := o.questions(); !strings.Contains(got, `"claims":{"sub":"x","team":["blue","red"]},"listing":true`) {
			t.Errorf("running %v: the owner was asked\n%s", run, got)
		}
		o.no.Store(true)
		if e, err = c.Explain(t.Context(), q); err != nil || e.Allowed {
			t.Errorf("running %v, refused: %+v, %v", run, e, err)
		}
		o.no.Store(false)
		check(t, c.Close())
	}
}
