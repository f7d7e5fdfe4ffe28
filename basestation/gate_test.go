package basestation

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/bearer"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/registry"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

var (
	away    = latchkey.DeviceID{Product: "acme", Device: "away"} // registered, never attached
	unknown = latchkey.DeviceID{Product: "acme", Device: "none"} // registered nowhere
	foreign = latchkey.DeviceID{Product: "other", Device: "gw1"} // of another product
)

// An attempt is a connect request that must be refused.
type attempt struct {
	name string
	id   latchkey.DeviceID
	sct  string
	jwt  string
	key  *latchkey.Identity // nil: any
}

// signer issues JWTs.
type signer struct {
	key *ecdsa.PrivateKey
	url string
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
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256", "use": "sig",
		"x": b64.EncodeToString(point[1:33]), "y": b64.EncodeToString(point[33:]),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))
	t.Cleanup(server.Close)
	return &signer{key, server.URL}
}

func (s *signer) issuer() Issuer {
	return Issuer{Issuer: "https://id.example", Audience: "latchkey", JWKS: s.url, Algorithms: []string{"ES256"}}
}

// token makes a good token for a client, changed by change.
func (s *signer) token(t *testing.T, client *latchkey.Identity, change func(jwt.MapClaims)) string {
	t.Helper()
	thumbprint, err := bearer.Thumbprint(client.Public().(*ecdsa.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{
		"iss": "https://id.example", "aud": "latchkey", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix(),
		"devices": []string{"acme/*"}, "cnf": map[string]string{"jkt": thumbprint},
	}
	if change != nil {
		change(claims)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["kid"] = "k1"
	text, err := token.SignedString(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// forged is the battery for the gate: everything but a token that fits.
func forged(t *testing.T, b *base, s *signer, device *peer, good latchkey.ConnectToken) []attempt {
	t.Helper()
	other, client := newIdentity(t), newIdentity(t)
	mint := latchkey.NewConnectToken
	bound, expired, withdrawn := mint(), mint(), mint()
	device.upload(2, good, withdrawn)
	wants(t, device.do(coap.PUT, signal.PathTokens, &signal.Tokens{Version: 3, List: []signal.Token{
		{Hash: good.Hash().Sum()},
		{Hash: bound.Hash().Sum(), Key: other.Fingerprint()},
		{Hash: expired.Hash().Sum(), Expires: time.Now().Add(-time.Second)},
	}}), coap.Changed, 0, nil)
	_, wide, err := b.store.CreateToken(registry.OperatorToken{Scope: registry.Scope{Product: "other"}, Added: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	operator, revoked, err := b.store.CreateToken(registry.OperatorToken{Scope: registry.Scope{Product: "acme"}, Added: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.store.RevokeToken(operator.ID); err != nil {
		t.Fatal(err)
	}
	list := []attempt{
		{name: "token that is bound to another key", id: gateway, sct: bound.Reveal()},
		{name: "expired token", id: gateway, sct: expired.Reveal()},
		{name: "withdrawn token", id: gateway, sct: withdrawn.Reveal()},
		{name: "operator's token for another product", id: gateway, sct: wide.Reveal()},
		{name: "operator's token that was revoked", id: gateway, sct: revoked.Reveal()},
		{name: "another device's token, device away", id: away, sct: good.Reveal()},
		{name: "another device's token, device unknown", id: unknown, sct: good.Reveal()},
		{name: "another device's token, product foreign", id: foreign, sct: good.Reveal()},
		{name: "not base64", id: gateway, sct: "!!!!!!!!!!!!!!!!!!!!!!"},
	}
	for _, id := range []latchkey.DeviceID{gateway, away, unknown, foreign} {
		list = append(list,
			attempt{name: "random token for " + id.String(), id: id, sct: mint().Reveal()},
			attempt{name: "no JWT for " + id.String(), id: id, jwt: "x"},
			attempt{name: "JWT of nobody for " + id.String(), id: id, jwt: newSigner(t).token(t, client, nil), key: client},
		)
	}
	for name, change := range map[string]func(jwt.MapClaims){
		"expired":       func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Hour).Unix() },
		"without end":   func(c jwt.MapClaims) { delete(c, "exp") },
		"audience":      func(c jwt.MapClaims) { c["aud"] = "somebody" },
		"issuer":        func(c jwt.MapClaims) { c["iss"] = "https://evil.example" },
		"other device":  func(c jwt.MapClaims) { c["devices"] = []string{"acme/gw9"} },
		"other product": func(c jwt.MapClaims) { c["devices"] = []string{"acm/*"} },
		"no device":     func(c jwt.MapClaims) { delete(c, "devices") },
		"not bound":     func(c jwt.MapClaims) { delete(c, "cnf") },
		"somebody's x5t": func(c jwt.MapClaims) {
			c["cnf"] = map[string]string{"x5t#S256": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}
		},
		"not valid yet":    func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() },
		"devices are text": func(c jwt.MapClaims) { c["devices"] = "*" },
	} {
		list = append(list, attempt{name: "JWT " + name, id: gateway, jwt: s.token(t, client, change), key: client})
	}
	list = append(list, attempt{name: "stolen JWT", id: gateway, jwt: s.token(t, client, nil), key: other})
	return list
}

// TestGate shows that nothing reaches the device before the gate said yes, and
// that the gate says no in one way only.
func TestGate(t *testing.T) {
	s := newSigner(t)
	b := newBase(t, func(b *Server) {
		b.Issuers, b.bearer.Loopback = []Issuer{s.issuer()}, true
	})
	b.register(away)
	device, _, good := ready(t, b)
	list := forged(t, b, s, device, good)
	before, _ := device.traffic()
	var first *coap.Response
	var firstSize int
	for _, a := range list {
		key := a.key
		if key == nil {
			key = newIdentity(t)
		}
		p := b.connectUDP(key)
		request := &signal.Connect{ID: a.id, SCT: a.sct, JWT: a.jwt, Wait: true, Offer: p.offer(signal.RoleClient, newSession(), a.id)}
		started := time.Now()
		answer := p.do(coap.POST, signal.PathConnect, request)
		if took := time.Since(started); took < refusalTime {
			t.Errorf("%s: refused in %v", a.name, took)
		}
		_, size := p.traffic()
		if first == nil {
			first, firstSize = answer, size
			wants(t, answer, coap.Forbidden, latchkey.CodeForbidden, nil)
		}
		if !reflect.DeepEqual(answer, first) || size != firstSize || len(answer.Body) != 0 {
			t.Errorf("%s: %+v in %d bytes, others %+v in %d", a.name, answer, size, first, firstSize)
		}
		p.end()
	}
	if after, _ := device.traffic(); after != before || len(device.asked) != 0 {
		t.Errorf("%d datagrams reached the device", after-before)
	}
	if status, _ := b.Status(); status.Refused != uint64(len(list)) || status.Introductions != 0 || status.Waiting != 0 {
		t.Errorf("%d refused of %d: %+v", status.Refused, len(list), status)
	}
	if events, _ := b.Events(); bytes.Contains(fmt.Append(nil, events), []byte(good.Reveal())) {
		t.Error("an event holds a token")
	}
	// With the right one the device is asked at once.
	client := b.connectUDP(newIdentity(t))
	wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, good)), coap.Created, 0, &signal.Connected{})
	device.next(signal.PathIntroduce, &signal.Introduce{})
}

func TestGateJWT(t *testing.T) {
	s := newSigner(t)
	b := newBase(t, func(b *Server) { b.bearer.Loopback = true })
	device, client, _ := ready(t, b)
	b.register(away)
	connect := func(id latchkey.DeviceID, token string) *coap.Response {
		o := client.offer(signal.RoleClient, newSession(), id)
		return client.do(coap.POST, signal.PathConnect, &signal.Connect{ID: id, JWT: token, Offer: o})
	}
	token := s.token(t, client.key, nil)
	wants(t, connect(gateway, token), coap.Forbidden, latchkey.CodeForbidden, nil)
	if err := b.SetIssuers([]Issuer{s.issuer()}); err != nil {
		t.Fatal(err)
	}
	wants(t, connect(gateway, token), coap.Created, 0, &signal.Connected{})
	device.next(signal.PathIntroduce, &signal.Introduce{})
	wants(t, connect(away, token), coap.ServiceUnavailable, latchkey.CodeOffline, nil)
	if err := b.SetIssuers([]Issuer{{Issuer: "x"}}); err == nil {
		t.Error("half an issuer is accepted")
	}
	wants(t, connect(gateway, token), coap.Created, 0, &signal.Connected{})
	wants(t, connect(foreign, token), coap.Forbidden, latchkey.CodeForbidden, nil)
}

// TestGateUses redeems a token as often as it may be, and no more.
func TestGateUses(t *testing.T) {
	b := newBase(t, nil)
	device, client, _ := ready(t, b)
	token := latchkey.NewConnectToken()
	wants(t, device.do(coap.PUT, signal.PathTokens, &signal.Tokens{Version: 2, List: []signal.Token{
		{Hash: token.Hash().Sum(), Uses: 2},
	}}), coap.Changed, 0, nil)
	for range 2 {
		wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, token)), coap.Created, 0, &signal.Connected{})
		device.next(signal.PathIntroduce, &signal.Introduce{})
	}
	wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, token)), coap.Forbidden, latchkey.CodeForbidden, nil)
	device.end()
	until(t, "the device is gone", func() bool { s, _ := b.Status(); return s.Devices == 0 })
	wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, token)), coap.Forbidden, latchkey.CodeForbidden, nil)
}

// TestGateUsesOffline asks for a device that is away, which costs no use.
func TestGateUsesOffline(t *testing.T) {
	b := newBase(t, nil)
	device, client, _ := ready(t, b)
	token := latchkey.NewConnectToken()
	wants(t, device.do(coap.PUT, signal.PathTokens, &signal.Tokens{Version: 2, List: []signal.Token{
		{Hash: token.Hash().Sum(), Uses: 1},
	}}), coap.Changed, 0, nil)
	device.end()
	until(t, "the device is gone", func() bool { s, _ := b.Status(); return s.Devices == 0 })
	for range 3 {
		wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, token)), coap.ServiceUnavailable, latchkey.CodeOffline, nil)
	}
	device = b.connectUDP(device.key)
	device.attach(gateway)
	wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, token)), coap.Created, 0, &signal.Connected{})
	device.next(signal.PathIntroduce, &signal.Introduce{})
}

func TestOfferMustBeOwn(t *testing.T) {
	b := newBase(t, nil)
	device, client, token := ready(t, b)
	other := newPeer(t, newIdentity(t))
	request := client.request(gateway, token)
	request.Offer = other.offer(signal.RoleClient, newSession(), gateway)
	wants(t, client.do(coap.POST, signal.PathConnect, request), coap.BadRequest, latchkey.CodeProtocol, nil)
	request = client.request(gateway, token)
	request.Offer.Ufrag = "swapped"
	wants(t, client.do(coap.POST, signal.PathConnect, request), coap.BadRequest, latchkey.CodeProtocol, nil)
	wants(t, client.raw(coap.POST, signal.PathConnect, []byte{0xa0}), coap.BadRequest, latchkey.CodeProtocol, nil)
	if len(device.asked) != 0 {
		t.Error("the device was asked")
	}
}

// TestGuessing disconnects who guesses, and slows down where it comes from.
func TestGuessing(t *testing.T) {
	b := newBase(t, nil)
	b.register(gateway)
	p := b.connectUDP(newIdentity(t))
	for range maxRefusals {
		wants(t, p.do(coap.POST, signal.PathConnect, p.request(gateway, latchkey.NewConnectToken())), coap.Forbidden, latchkey.CodeForbidden, nil)
	}
	if code := receive(t, p.said); code != latchkey.CodeTooMany {
		t.Errorf("told %v", code)
	}
	receive(t, p.ended)
}

// TestGuessingFromOnePrefix slows down who guesses, and not the neighbours who
// hold connect tokens.
func TestGuessingFromOnePrefix(t *testing.T) {
	signer := newSigner(t)
	b := newBase(t, func(b *Server) { b.Issuers, b.bearer.Loopback = []Issuer{signer.issuer()}, true })
	device, client, token := ready(t, b)
	s, err := b.serving()
	if err != nil {
		t.Fatal(err)
	}
	spend := func() { // all are on loopback
		for s.failures.allow(prefixOf(b.addr.Addr()), time.Now()) {
		}
	}
	spend()
	wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, token)), coap.Created, 0, &signal.Connected{})
	device.next(signal.PathIntroduce, &signal.Introduce{})
	request := &signal.Connect{
		ID: gateway, JWT: signer.token(t, client.key, nil), Offer: client.offer(signal.RoleClient, newSession(), gateway),
	}
	spend()
	wants(t, client.do(coap.POST, signal.PathConnect, request), coap.TooManyRequests, latchkey.CodeTooMany, nil)
	for _, id := range []latchkey.DeviceID{gateway, unknown} {
		guesser := b.connectUDP(newIdentity(t))
		spend()
		answer := guesser.do(coap.POST, signal.PathConnect, guesser.request(id, latchkey.NewConnectToken()))
		wants(t, answer, coap.Forbidden, latchkey.CodeForbidden, nil)
		if code := receive(t, guesser.said); code != latchkey.CodeTooMany {
			t.Errorf("told %v", code)
		}
		receive(t, guesser.ended)
	}
}

func TestResources(t *testing.T) {
	b := newBase(t, nil)
	p := b.connectUDP(newIdentity(t))
	wants(t, p.raw(coap.POST, "nothing", nil), coap.NotFound, latchkey.CodeNotFound, nil)
	wants(t, p.raw(coap.GET, signal.PathAttach, nil), coap.MethodNotAllowed, latchkey.CodeMethodNotAllowed, nil)
	r := coap.NewRequest(coap.POST, signal.PathAttach)
	r.Format, r.Body = coap.JSON, []byte("{}")
	answer, err := p.coap.Do(t.Context(), r)
	if err != nil || answer.Code != coap.UnsupportedFormat {
		t.Errorf("%+v, %v", answer, err)
	}
	wants(t, p.raw(coap.POST, signal.PathAttach, make([]byte, signal.MaxMessage+1)), coap.EntityTooLarge, latchkey.CodeTooLarge, nil)
}
