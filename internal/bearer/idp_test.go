package bearer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var (
	noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	b64  = base64.RawURLEncoding
)

// Keys that all tests share. ours are the issuer's.
var (
	oursEC   = sync.OnceValue(newEC)
	oursEd   = sync.OnceValue(func() ed25519.PrivateKey { return must(second(ed25519.GenerateKey(nil))) })
	oursRSA  = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	theirsEC = sync.OnceValue(newEC)
	clientEC = sync.OnceValue(newEC)
)

func newEC() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func second[A, B any](_ A, b B, err error) (B, error) { return b, err }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// object is a JSON object.
type object = map[string]any

func ecJWK(k *ecdsa.PublicKey, kid string) object {
	point := must(k.Bytes())
	return object{"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "alg": "ES256", "x": b64.EncodeToString(point[1:33]), "y": b64.EncodeToString(point[33:])}
}

func edJWK(k ed25519.PublicKey, kid string) object {
	return object{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64.EncodeToString(k)}
}

func rsaJWK(k *rsa.PublicKey, kid string) object {
	return object{"kty": "RSA", "kid": kid, "n": b64.EncodeToString(k.N.Bytes()), "e": b64.EncodeToString(big.NewInt(int64(k.E)).Bytes())}
}

func keySetJSON(keys ...object) []byte { return must(json.Marshal(object{"keys": keys})) }

func ourKeys() []byte {
	return keySetJSON(ecJWK(&oursEC().PublicKey, "ec"), edJWK(oursEd().Public().(ed25519.PublicKey), "ed"), rsaJWK(&oursRSA().PublicKey, "rsa"))
}

// An idp serves a key set.
type idp struct {
	*httptest.Server
	hits   atomic.Int32
	answer atomic.Value // http.HandlerFunc
}

func newIDP(t testing.TB) *idp {
	t.Helper()
	p := &idp{}
	p.serve(ourKeys())
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.hits.Add(1)
		p.answer.Load().(http.HandlerFunc)(w, r)
	}))
	p.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

func (p *idp) do(f http.HandlerFunc) { p.answer.Store(f) }

func (p *idp) serve(body []byte) {
	p.do(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
}

func (p *idp) fail() {
	p.do(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
}

func (p *idp) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate())
	return pool
}

func (p *idp) options() Options {
	return Options{Loopback: true, Roots: p.roots(), Log: slog.New(slog.DiscardHandler)}
}

// issuer is the configuration that most tests use.
func (p *idp) issuer() Issuer {
	return Issuer{Issuer: "https://idp.example", Audience: "gate", JWKS: p.URL + "/keys", Algorithms: []string{"ES256", "EdDSA", "RS256", "PS256"}}
}

func (p *idp) validator(t testing.TB) *Validator {
	t.Helper()
	v, err := New([]Issuer{p.issuer()}, p.options())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func client() Client { return Client{Key: &clientEC().PublicKey} }

// good are the claims of a token that is accepted.
func good() object {
	return object{
		"iss": "https://idp.example", "aud": "gate", "sub": "alice",
		"exp": noon.Add(time.Hour).Unix(), "nbf": noon.Add(-time.Hour).Unix(), "iat": noon.Add(-time.Hour).Unix(),
		"devices": []string{"acme/gw1", "zeta/*"},
		"cnf":     object{"jkt": must(Thumbprint(&clientEC().PublicKey))},
	}
}

// with returns a copy of o with these members changed; a nil value removes one.
func with(o object, pairs ...any) object {
	out := object{}
	for k, v := range o {
		out[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == nil {
			delete(out, pairs[i].(string))
		} else {
			out[pairs[i].(string)] = pairs[i+1]
		}
	}
	return out
}

// mint signs with a library.
func mint(method jwt.SigningMethod, key crypto.PrivateKey, kid string, claims object) string {
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	token.Header["kid"] = kid
	return must(token.SignedString(key))
}

// forge signs texts as they are with ES256.
func forge(key *ecdsa.PrivateKey, header, payload string) string {
	input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload))
	return input + "." + b64.EncodeToString(must(jwt.SigningMethodES256.Sign(input, key)))
}

func text(o object) string { return string(must(json.Marshal(o))) }

const es256 = `{"alg":"ES256","kid":"ec","typ":"JWT"}`
