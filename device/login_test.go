package device_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/bearer"
)

const patience = 60 * time.Second

// A signer issues tokens, and serves the key that vouches for them.
type signer struct {
	key *ecdsa.PrivateKey
	web *httptest.Server
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "use": "sig",
		"x": b64.EncodeToString(point[1:33]), "y": b64.EncodeToString(point[33:]),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{key: key, web: httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))}
	t.Cleanup(s.web.Close)
	return s
}

func (s *signer) issuer() device.TokenIssuer {
	return device.TokenIssuer{
		Issuer: "https://id.example", JWKS: s.web.URL, Roles: map[string]string{"ops": acl.RoleUser, "visitor": acl.RoleGuest},
	}
}

// A bed is a device that takes tokens, and a client without a key there.
type bed struct {
	*device.Device
	t      *testing.T
	signer *signer
	info   device.Info
	access *acl.Store
	client *client.Client
	stop   func() error

	mu     sync.Mutex
	events []acl.Event
}

func newBed(t *testing.T, change func(*device.Device)) *bed {
	t.Helper()
	b := &bed{t: t, signer: newSigner(t)}
	var err error
	if b.access, err = acl.Create(filepath.Join(t.TempDir(), "access.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.access.Close() })
	id, err := latchkey.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	ready := make(chan device.Info, 1)
	b.Device = &device.Device{
		Identity: id, Access: b.access, Addr: "127.0.0.1:0", NoDiscovery: true, Logger: log,
		Tokens: []device.TokenIssuer{b.signer.issuer()}, Ready: func(i device.Info) { ready <- i },
		Audit: func(e acl.Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
		},
	}
	device.TrustLoopback(b.Device)
	if change != nil {
		change(b.Device)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.ListenAndServe(ctx) }()
	b.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := b.stop(); err != nil {
			t.Error(err)
		}
	})
	select {
	case b.info = <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	b.client = &client.Client{Dir: filepath.Join(t.TempDir(), "client"), Logger: log, NoDiscovery: true}
	known, err := b.client.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	if err := known.Add(client.Device{Alias: "home", ID: b.info.ID, Key: b.info.Fingerprint, Addrs: b.info.PairingURL.Addrs}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bed) ctx() context.Context {
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	b.t.Cleanup(cancel)
	return ctx
}

func (b *bed) dial() *client.Conn {
	b.t.Helper()
	conn, err := b.client.Dial(b.ctx(), "home")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// token is a token for the bed's client, with some claims changed.
func (b *bed) token(life time.Duration, change map[string]any) string {
	b.t.Helper()
	id, err := b.client.OpenIdentity()
	if err != nil {
		b.t.Fatal(err)
	}
	print, err := bearer.Thumbprint(id.Public().(*ecdsa.PublicKey))
	if err != nil {
		b.t.Fatal(err)
	}
	claims := jwt.MapClaims{
		"iss": "https://id.example", "aud": b.info.ID.String(), "sub": "ada", "jti": "1", "role": "ops",
		"exp": time.Now().Add(life).Unix(), "cnf": map[string]any{"jkt": print},
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	raw := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	raw.Header["kid"] = "k"
	text, err := raw.SignedString(b.signer.key)
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

func (b *bed) login(conn *client.Conn, token string) (*client.Response, error) {
	return conn.Do(b.ctx(), &client.Request{Method: client.POST, Path: "/token", Body: []byte(token)})
}

// outcomes lists what became of tokens.
func (b *bed) outcomes() (list []acl.Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.Kind == acl.EventToken {
			list = append(list, e.Outcome)
		}
	}
	return list
}

func lights(w device.ResponseWriter, r *device.Request) { _, _ = io.WriteString(w, r.Role) }

func TestLogin(t *testing.T) {
	b := newBed(t, func(d *device.Device) { d.Handler = device.HandlerFunc(lights) })
	conn := b.dial()
	if _, err := conn.Get(b.ctx(), "/light"); !errors.Is(err, latchkey.ErrUnpaired) {
		t.Errorf("without a token: %v", err)
	}
	r, err := b.login(conn, b.token(time.Hour, nil))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Role, Subject string
		Expires       time.Time
	}
	if err := json.Unmarshal(r.Body, &got); err != nil || got.Role != acl.RoleUser || got.Subject != "ada" || time.Until(got.Expires) < 50*time.Minute {
		t.Errorf("logged in as %s, %v", r.Body, err)
	}
	if r, err := conn.Get(b.ctx(), "/light"); err != nil || string(r.Body) != acl.RoleUser {
		t.Errorf("with a token: %v, %v", r, err)
	}
	// What is refused leaves the token before in force.
	for name, bad := range map[string]string{
		"nothing":        "",
		"no token":       "hello",
		"other audience": b.token(time.Hour, map[string]any{"aud": "acme/other"}),
		"two audiences":  b.token(time.Hour, map[string]any{"aud": []string{b.info.ID.String(), "acme/other"}}),
		"not bound":      b.token(time.Hour, map[string]any{"cnf": nil}),
		"bound to other": b.token(time.Hour, map[string]any{"cnf": map[string]any{"jkt": "x"}}),
		"no role":        b.token(time.Hour, map[string]any{"role": nil}),
		"unknown role":   b.token(time.Hour, map[string]any{"role": "admin"}),
		"roles of none":  b.token(time.Hour, map[string]any{"role": []any{7, "king"}}),
		"expired":        b.token(-time.Minute/2, nil),
		"other issuer":   b.token(time.Hour, map[string]any{"iss": "https://evil.example"}),
	} {
		want := latchkey.ErrForbidden
		if name == "expired" {
			want = latchkey.ErrTokenExpired
		}
		if _, err := b.login(conn, bad); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := conn.Get(b.ctx(), "/light"); err != nil {
			t.Errorf("%s took the rights of the token before: %v", name, err)
		}
	}
	// Of a list the first counts that means something. It means less than before.
	if _, err := b.login(conn, b.token(time.Hour, map[string]any{"role": []string{"king", "visitor", "ops"}})); err != nil {
		t.Error(err)
	}
	if _, err := conn.Get(b.ctx(), "/light"); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("a guest reads: %v", err)
	}
	list := b.outcomes()
	refused := len(slices.DeleteFunc(slices.Clone(list), func(o acl.Outcome) bool { return o != acl.OutcomeRefused }))
	if len(list) != 13 || refused != 11 {
		t.Errorf("%d events, %d of refusals: %v", len(list), refused, list)
	}
	// To have a token of one's own helps no other session.
	if _, err := b.dial().Get(b.ctx(), "/light"); !errors.Is(err, latchkey.ErrUnpaired) {
		t.Errorf("another session: %v", err)
	}
}

func TestScopeNarrows(t *testing.T) {
	b := newBed(t, func(d *device.Device) { d.Handler = device.HandlerFunc(lights) })
	conn := b.dial()
	if _, err := b.login(conn, b.token(time.Hour, map[string]any{"scope": "coap:get openid"})); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Get(b.ctx(), "/light"); err != nil {
		t.Errorf("within the scope: %v", err)
	}
	if _, err := conn.Do(b.ctx(), client.NewRequest(client.DELETE, "/light")); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("outside of the scope: %v", err)
	}
}

// TestTokenRunsOut ends what is under way with the token, unless another came
// in time.
func TestTokenRunsOut(t *testing.T) {
	for name, renewed := range map[string]bool{"alone": false, "renewed": true} {
		t.Run(name, func(t *testing.T) {
			target, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			var work sync.WaitGroup
			defer work.Wait()
			work.Go(func() {
				if c, err := target.Accept(); err == nil {
					defer c.Close()
					_, _ = io.Copy(c, c)
				}
			})
			release := make(chan struct{})
			defer close(release)
			mux := device.NewMux()
			mux.HandleFunc("GET /slow", func(device.ResponseWriter, *device.Request) { <-release })
			mux.HandleFunc("GET /light", lights)
			b := newBed(t, func(d *device.Device) {
				d.Handler, d.Services = mux, []device.Service{{ID: "echo", Target: "tcp://" + target.Addr().String()}}
			})
			conn := b.dial()
			life := 2 * time.Second
			if _, err := b.login(conn, b.token(life, nil)); err != nil {
				t.Fatal(err)
			}
			tun, err := conn.Tunnel(b.ctx(), "echo")
			if err != nil {
				t.Fatal(err)
			}
			defer tun.Close()
			slow := make(chan error, 1)
			work.Go(func() {
				ctx, cancel := context.WithTimeout(b.ctx(), 2*life)
				defer cancel()
				_, err := conn.Get(ctx, "/slow")
				slow <- err
			})
			if renewed {
				if _, err := b.login(conn, b.token(time.Hour, nil)); err != nil {
					t.Fatal(err)
				}
				if err := <-slow; !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a request ended with %v", err)
				}
				if _, err := tun.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(tun, make([]byte, 1)); err != nil {
					t.Errorf("the tunnel ended with %v", err)
				}
				return
			}
			if err := <-slow; !errors.Is(err, latchkey.ErrTokenExpired) {
				t.Errorf("a request ended with %v", err)
			}
			if _, err := tun.Read(make([]byte, 1)); !errors.Is(err, latchkey.ErrTokenExpired) {
				t.Errorf("the tunnel ended with %v", err)
			}
			if _, err := conn.Get(b.ctx(), "/light"); !errors.Is(err, latchkey.ErrTokenExpired) {
				t.Errorf("a request after the end: %v", err)
			}
			if _, err := b.login(conn, b.token(time.Hour, nil)); err != nil {
				t.Fatalf("a fresh token on the same session: %v", err)
			}
			if _, err := conn.Get(b.ctx(), "/light"); err != nil {
				t.Errorf("a request with a fresh token: %v", err)
			}
		})
	}
}

// TestIssuerGoes takes an issuer away from under those who logged in by it.
func TestIssuerGoes(t *testing.T) {
	b := newBed(t, func(d *device.Device) { d.Handler = device.HandlerFunc(lights) })
	conn := b.dial()
	if _, err := b.login(conn, b.token(time.Hour, nil)); err != nil {
		t.Fatal(err)
	}
	if err := b.SetTokens(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Get(b.ctx(), "/light"); !errors.Is(err, latchkey.ErrUnpaired) {
		t.Errorf("by a token of nobody: %v", err)
	}
	// Nothing is open to strangers now.
	if _, err := b.client.Dial(b.ctx(), "home"); !errors.Is(err, latchkey.ErrHandshakeRefused) {
		t.Errorf("a stranger: %v", err)
	}
}

func TestIssuersThatMeanNothing(t *testing.T) {
	s := newSigner(t)
	for name, change := range map[string]func(*device.TokenIssuer){
		"no roles":     func(i *device.TokenIssuer) { i.Roles = nil },
		"unpaired":     func(i *device.TokenIssuer) { i.Roles = map[string]string{"x": acl.RoleUnpaired} },
		"no issuer":    func(i *device.TokenIssuer) { i.Issuer = "" },
		"no algorithm": func(i *device.TokenIssuer) { i.Algorithms = []string{"none"} },
	} {
		issuer := s.issuer()
		change(&issuer)
		d := &device.Device{Dir: t.TempDir(), Addr: "127.0.0.1:0", NoDiscovery: true, Tokens: []device.TokenIssuer{issuer}}
		device.TrustLoopback(d)
		if err := d.ListenAndServe(t.Context()); err == nil {
			t.Errorf("%s: serves", name)
		}
	}
}
