package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/bearer"
)

const (
	notaryName   = "https://id.example"
	gateAudience = "https://gate.example"
)

// A notary issues tokens, and serves the key that vouches for them.
type notary struct {
	key *ecdsa.PrivateKey
	web *httptest.Server
}

func newNotary(t *testing.T) *notary {
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
	n := &notary{key: key, web: httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))}
	t.Cleanup(n.web.Close)
	return n
}

// takenBy makes a device take the notary's tokens.
func (n *notary) takenBy(d *device.Device) {
	d.Tokens = []device.TokenIssuer{{
		Issuer: notaryName, JWKS: n.web.URL, Roles: map[string]string{"ops": acl.RoleUser, "visitor": acl.RoleGuest},
	}}
	trustLoopback(d)
}

// guards makes a basestation's gate take them.
func (n *notary) guards(s *basestation.Server) {
	s.Issuers = []basestation.Issuer{{Issuer: notaryName, Audience: gateAudience, JWKS: n.web.URL}}
	trustLoopback(s)
}

// trustLoopback lets a program fetch keys from this machine, which nobody can
// configure: it is for tests alone, and so the field is not exported.
func trustLoopback(program any) {
	f := reflect.ValueOf(program).Elem().FieldByName("bearer")
	reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem().Set(reflect.ValueOf(bearer.Options{Loopback: true}))
}

// token is one for the holder of key, with some claims changed. What is nil is
// left out.
func (n *notary) token(t *testing.T, key *latchkey.Identity, audience string, life time.Duration, change map[string]any) string {
	t.Helper()
	print, err := bearer.Thumbprint(key.Public().(*ecdsa.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": notaryName, "aud": audience, "sub": "ada", "role": "ops", "devices": []string{gw1.String()},
		"iat": now.Unix(), "exp": jwt.NewNumericDate(now.Add(life)).Unix(), "cnf": map[string]any{"jkt": print},
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	raw := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	raw.Header["kid"] = "k"
	text, err := raw.SignedString(n.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// tokenSite is a device with a basestation, which both take a notary's tokens.
func tokenSite(t *testing.T, n *notary, change func(*device.Device)) *site {
	t.Helper()
	store, info, server := stationWith(t, n.guards)
	s := &site{t: t, store: store, info: info, server: server, access: newAccess(t), tap: newTap(t, info.Addrs[0])}
	d := &device.Device{
		Identity: newIdentity(t), ID: gw1, Access: s.access,
		Basestations: []string{s.tap.addr.String()}, BasestationKey: info.Fingerprint,
	}
	n.takenBy(d)
	change(d)
	s.register(gw1, d.Identity)
	s.device = serve(t, d)
	s.version(1)
	return s
}

// TestTokenFromAfar: a key that the device has never seen comes through the gate
// by one token and is somebody at the device by another. Neither is good for the
// other, nor for another key.
func TestTokenFromAfar(t *testing.T) {
	n := newNotary(t)
	s := tokenSite(t, n, func(d *device.Device) {
		d.Handler = device.HandlerFunc(func(w device.ResponseWriter, r *device.Request) { _, _ = io.WriteString(w, r.Role) })
	})
	url := *s.device.info.PairingURL
	url.Addrs = nil
	c := s.stranger(&url)
	me := identityOf(t, c)
	gate := n.token(t, me, gateAudience, time.Hour, nil)
	mine := n.token(t, me, gw1.String(), time.Hour, nil)
	dial := func(c *client.Client, gate, login string) (*client.Conn, error) {
		o := client.DialOptions{Via: client.ViaRelay, JWT: gate}
		if login != "" {
			o.Login = func(context.Context) (string, error) { return login, nil }
		}
		return c.DialWith(deadline(t), "home", o)
	}
	conn, err := dial(c, gate, mine)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if r, err := conn.Get(deadline(t), "/light"); err != nil || string(r.Body) != acl.RoleUser {
		t.Errorf("with both tokens: %v, %v", r, err)
	}
	if list, err := s.device.Status(); err != nil || len(list.Sessions) != 1 || list.Sessions[0].Path != acl.PathRelay {
		t.Errorf("sessions %+v, %v", list.Sessions, err)
	}

	thief := s.stranger(&url)
	theirs := n.token(t, identityOf(t, thief), gateAudience, time.Hour, nil)
	for name, tt := range map[string]struct {
		who         *client.Client
		gate, login string
	}{
		"the gate's token at the device": {c, gate, gate},
		"the device's token at the gate": {c, mine, mine},
		"stolen, at the device":          {thief, theirs, mine},
		"stolen, at the gate":            {thief, gate, mine},
		"for another device":             {c, gate, n.token(t, me, "acme/gw2", time.Hour, nil)},
		"for both":                       {c, gate, n.token(t, me, "", time.Hour, map[string]any{"aud": []string{gw1.String(), gateAudience}})},
		"not bound":                      {c, gate, n.token(t, me, gw1.String(), time.Hour, map[string]any{"cnf": nil})},
		"signed by somebody else":        {c, gate, newNotary(t).token(t, me, gw1.String(), time.Hour, nil)},
		"a role that there is not":       {c, gate, n.token(t, me, gw1.String(), time.Hour, map[string]any{"role": "admin"})},
	} {
		got, err := dial(tt.who, tt.gate, tt.login)
		if err == nil {
			_ = got.Close()
		}
		if !errors.Is(err, latchkey.ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, err := dial(c, gate, n.token(t, me, gw1.String(), -time.Minute/2, nil))
	if err == nil {
		_ = got.Close()
	}
	if !errors.Is(err, latchkey.ErrTokenExpired) {
		t.Errorf("expired: %v", err)
	}
	// Without a token of the device's the gate's is good for a session, and for
	// nothing in it.
	bare, err := dial(c, gate, "")
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	if _, err := bare.Get(deadline(t), "/light"); !errors.Is(err, latchkey.ErrUnpaired) {
		t.Errorf("without login: %v", err)
	}
	if _, err := conn.Get(deadline(t), "/light"); err != nil {
		t.Errorf("the first session, after all that: %v", err)
	}
}

// A ledger is who has what under way, and how each thing ended.
type ledger struct {
	t       *testing.T
	entered chan struct{} // a request is in its handler
	release chan struct{} // and leaves it
	ended   chan end
	work    sync.WaitGroup
}

type end struct {
	who, what string
	err       error
	at        time.Time
}

// handler serves /state, which can be observed, and /deaf, which does not return
// until the test is over.
func (l *ledger) handler() device.Handler {
	mux := device.NewMux()
	mux.HandleObservable("GET /state", device.HandlerFunc(func(w device.ResponseWriter, _ *device.Request) { fmt.Fprint(w, time.Now()) }))
	mux.HandleFunc("GET /deaf", func(device.ResponseWriter, *device.Request) {
		l.entered <- struct{}{}
		<-l.release
	})
	return mux
}

func newLedger(t *testing.T) *ledger {
	return &ledger{t: t, entered: make(chan struct{}, 8), release: make(chan struct{}), ended: make(chan end, 64)}
}

// close lets the handlers return, for which a device waits that stops. The
// context of what was begun must have ended.
func (l *ledger) close() {
	close(l.release)
	l.work.Wait()
}

func (l *ledger) run(who, what string, f func() error) {
	l.work.Go(func() {
		err := f()
		l.ended <- end{who, what, err, time.Now()}
	})
}

// begin has somebody begin a request, an observation and a tunnel, and returns
// when all three go on. The service is named echo.
func (l *ledger) begin(ctx context.Context, who string, conn *client.Conn) {
	l.t.Helper()
	tun, err := conn.Tunnel(deadline(l.t), "echo")
	if err != nil {
		l.t.Fatalf("%s: tunnel: %v", who, err)
	}
	if _, err := tun.Write([]byte("x")); err != nil {
		l.t.Fatal(err)
	}
	if _, err := io.ReadFull(tun, make([]byte, 1)); err != nil {
		l.t.Fatalf("%s: tunnel: %v", who, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = tun.Close() })
	l.run(who, "tunnel", func() error {
		defer stop()
		defer tun.Close()
		_, err := io.Copy(io.Discard, tun)
		return err
	})
	watching := make(chan struct{})
	seen := sync.OnceFunc(func() { close(watching) })
	l.run(who, "observation", func() error {
		defer seen()
		for _, err := range conn.Observe(ctx, "/state") {
			if err != nil {
				return err
			}
			seen()
		}
		return errors.New("no reason")
	})
	l.run(who, "request", func() error {
		_, err := conn.Get(ctx, "/deaf")
		return err
	})
	<-watching
	<-l.entered
}

// ends waits until all that somebody has under way has ended with an error of a
// kind, and returns when the last did. Nobody else's ends.
func (l *ledger) ends(who string, want error) (last time.Time) {
	l.t.Helper()
	for range 3 {
		select {
		case e := <-l.ended:
			if e.who != who || !errors.Is(e.err, want) {
				l.t.Errorf("the %s of %s ended with %v; %s should lose it by %v", e.what, e.who, e.err, who, want)
			}
			last = e.at
		case <-time.After(patience):
			l.t.Fatalf("what %s has under way goes on", who)
		}
	}
	return last
}

// inTime judges, in the lab, how long after a change the last thing ended.
func inTime(t *testing.T, what string, from, last time.Time) {
	t.Helper()
	took := last.Sub(from)
	t.Logf("%s: everything had ended after %v", what, took)
	if judgesRevoked && took > revocationBound {
		t.Errorf("%s: %v, at most %v", what, took, revocationBound)
	}
}

// unharmed shows that nothing has ended since, and that a session is good for new
// requests.
func (l *ledger) unharmed(who string, conn *client.Conn) {
	l.t.Helper()
	if _, err := conn.Get(deadline(l.t), "/state"); err != nil {
		l.t.Errorf("%s: %v", who, err)
	}
	select {
	case e := <-l.ended:
		l.t.Errorf("the %s of %s ended with %v", e.what, e.who, e.err)
	default:
	}
}

// TestTokenEnds: at exp everything ends that goes on by the token, at once and
// with that reason, also for a session that came through a relay. Sessions of
// users go on.
func TestTokenEnds(t *testing.T) {
	n := newNotary(t)
	l := newLedger(t)
	defer l.close()
	s := tokenSite(t, n, func(d *device.Device) {
		d.Handler = l.handler()
		d.Services = []device.Service{{ID: "echo", Target: "tcp://" + echo(t, "tcp", "127.0.0.1:0").Addr().String()}}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	neighbour := dial(t, admit(t, s.device, s.access, "nora", acl.RoleUser))
	l.begin(ctx, "nora", neighbour)
	url := *s.device.info.PairingURL
	url.Addrs = nil
	c := s.stranger(&url)
	me := identityOf(t, c)
	// A token's exp is in whole seconds.
	exp := time.Now().Add(2 * time.Second).Truncate(time.Second).Add(time.Second)
	token := n.token(t, me, gw1.String(), 0, map[string]any{"exp": exp.Unix()})
	conn, err := c.DialWith(deadline(t), "home", client.DialOptions{Via: client.ViaRelay, JWT: n.token(t, me, gateAudience, time.Hour, nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	login := &client.Request{Method: client.POST, Path: "/token", Body: []byte(token)}
	if _, err := conn.Do(deadline(t), login); err != nil {
		t.Fatal(err)
	}
	l.begin(ctx, "ada", conn)
	last := l.ends("ada", latchkey.ErrTokenExpired)
	if last.Before(exp) {
		t.Errorf("ended %v before the token", exp.Sub(last))
	}
	inTime(t, "the end of the token", exp, last)
	l.unharmed("nora", neighbour)
	if _, err := conn.Get(deadline(t), "/state"); !errors.Is(err, latchkey.ErrTokenExpired) {
		t.Errorf("a new request: %v", err)
	}
	if _, err := conn.Tunnel(deadline(t), "echo"); !errors.Is(err, latchkey.ErrTokenExpired) {
		t.Errorf("a new tunnel: %v", err)
	}
	login.Body = []byte(n.token(t, me, gw1.String(), time.Hour, nil))
	if _, err := conn.Do(deadline(t), login); err != nil {
		t.Fatalf("a fresh token on the same session: %v", err)
	}
	l.begin(ctx, "ada", conn)
	l.unharmed("ada", conn)
}

// TestTokenIsRenewed: a client that has a source of tokens brings each before the
// last one ends, on the same session. Whatever goes on does not notice.
func TestTokenIsRenewed(t *testing.T) {
	n := newNotary(t)
	l := newLedger(t)
	defer l.close()
	d := &device.Device{
		Identity: newIdentity(t), Access: newAccess(t), ID: gw1, Handler: l.handler(),
		Services: []device.Service{{ID: "echo", Target: "tcp://" + echo(t, "tcp", "127.0.0.1:0").Addr().String()}},
	}
	n.takenBy(d)
	td := serve(t, d)
	c := stranger(t, td)
	defer c.Close()
	me := identityOf(t, c)
	const life = 3 * time.Second
	var issued atomic.Int64
	started := time.Now()
	conn, err := c.DialWith(deadline(t), "home", client.DialOptions{Via: client.ViaLocal, Login: func(context.Context) (string, error) {
		return n.token(t, me, gw1.String(), life, map[string]any{"jti": fmt.Sprint(issued.Add(1))}), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.begin(ctx, "ada", conn)
	refused := 0
	await(t, "the third token is on the device, after the second has ended", func() bool {
		if _, err := conn.Get(deadline(t), "/state"); err != nil {
			refused++
			t.Errorf("after %v: %v", time.Since(started), err)
		}
		return refused > 0 || issued.Load() >= 4
	})
	l.unharmed("ada", conn)
	if s, err := td.Status(); err != nil || len(s.Sessions) != 1 {
		t.Errorf("sessions %+v, %v", s.Sessions, err)
	}
}
