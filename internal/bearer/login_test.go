package bearer

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-dev/latchkey"
)

// loginValidator accepts what good makes, without its devices, to log in.
func (p *idp) loginValidator(t testing.TB) *Validator {
	t.Helper()
	o := p.options()
	o.Login = true
	v, err := New([]Issuer{p.issuer()}, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestLogin(t *testing.T) {
	v := newIDP(t).loginValidator(t)
	plain := with(good(), "devices", nil)
	for name, c := range map[string]struct {
		token string
		id    string
		scope []string
	}{
		"plain":               {forge(oursEC(), es256, text(plain)), "", nil},
		"EdDSA":               {mint(jwt.SigningMethodEdDSA, oursEd(), "ed", plain), "", nil},
		"one audience":        {forge(oursEC(), es256, text(with(plain, "aud", []string{"gate"}))), "", nil},
		"access token":        {forge(oursEC(), `{"alg":"ES256","kid":"ec","typ":"at+jwt"}`, text(plain)), "", nil},
		"login":               {forge(oursEC(), `{"alg":"ES256","kid":"ec","typ":"application/login+jwt"}`, text(plain)), "", nil},
		"id":                  {forge(oursEC(), es256, text(with(plain, "jti", "7f"))), "7f", nil},
		"scope":               {forge(oursEC(), es256, text(with(plain, "scope", "coap:get openid"))), "", []string{"coap:get", "openid"}},
		"a list of scopes":    {forge(oursEC(), es256, text(with(plain, "scope", []string{"coap:get", "x y"}))), "", []string{"coap:get", "x y"}},
		"spaces in scope":     {forge(oursEC(), es256, text(with(plain, "scope", "  coap:get "))), "", []string{"coap:get"}},
		"no words":            {forge(oursEC(), es256, text(with(plain, "scope", ""))), "", []string{}},
		"no list":             {forge(oursEC(), es256, text(with(plain, "scope", []string{}))), "", []string{}},
		"devices is no claim": {forge(oursEC(), es256, text(good())), "", nil},
		"nor is it checked":   {forge(oursEC(), es256, text(with(plain, "devices", 1))), "", nil},
		"last second":         {forge(oursEC(), es256, text(with(plain, "exp", noon.Unix()+1))), "", nil},
		"nbf within leeway":   {forge(oursEC(), es256, text(with(plain, "nbf", noon.Unix()+60, "iat", noon.Unix()+60))), "", nil},
	} {
		claims, err := v.Validate(t.Context(), c.token, client(), noon)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if claims.Subject != "alice" || claims.ID != c.id || claims.Devices != nil || claims.Expires.Before(noon) ||
			!slices.Equal(claims.Scope, c.scope) || (claims.Scope == nil) != (c.scope == nil) {
			t.Errorf("%s: %+v", name, claims)
		}
		if claims.Allows(latchkey.DeviceID{Product: "acme", Device: "gw1"}) {
			t.Errorf("%s: it opens the gate", name)
		}
	}
}

func TestLoginValues(t *testing.T) {
	v := newIDP(t).loginValidator(t)
	claims, err := v.Validate(t.Context(), forge(oursEC(), es256, text(with(good(), "groups", []string{"a", "b"}, "age", 7, "team", object{"x": true}))), client(), noon)
	if err != nil {
		t.Fatal(err)
	}
	got := claims.Values
	groups, _ := got["groups"].([]any)
	if got["sub"] != "alice" || got["age"] != json.Number("7") || !slices.Equal(groups, []any{"a", "b"}) {
		t.Errorf("%v", got)
	}
	if claims, err := newIDP(t).validator(t).Validate(t.Context(), forge(oursEC(), es256, text(with(good(), "jti", "x", "scope", "y"))), client(), noon); err != nil || claims.Values != nil || claims.Scope != nil || claims.ID != "" {
		t.Errorf("at the gate: %+v, %v", claims, err)
	}
}

// loginForgeries are tokens that do not log in. Some open the gate.
func loginForgeries() map[string]string {
	out := forgeries()
	for name := range out {
		if strings.HasPrefix(name, "devices ") { // says nothing here
			delete(out, name)
		}
	}
	changed := func(name string, pairs ...any) { out[name] = forge(oursEC(), es256, text(with(good(), pairs...))) }
	for name, aud := range map[string]any{
		"second": []string{"other", "gate"}, "first": []string{"gate", "other"}, "twice": []string{"gate", "gate"}, "and nothing": []string{"gate", ""},
	} {
		changed("login aud "+name, "aud", aud)
	}
	changed("login exp now", "exp", noon.Unix())
	changed("login exp within leeway", "exp", noon.Unix()-59)
	for name, v := range map[string]any{"number": 1, "true": true, "object": object{"coap:get": true}, "mixed": []any{"coap:get", 1}, "nested": []any{[]string{"coap:get"}}} {
		changed("login scope "+name, "scope", v)
	}
	out["login scope null"] = forge(oursEC(), es256, `{"scope":null,`+text(good())[1:])
	out["login scope twice"] = forge(oursEC(), es256, `{"scope":"*","scope":"coap:get",`+text(good())[1:])
	for name, v := range map[string]any{"number": 1, "list": []string{"x"}, "long": strings.Repeat("x", maxTokenID+1)} {
		changed("login jti "+name, "jti", v)
	}
	for _, typ := range []string{"connect+jwt", "Application/Connect+JWT"} {
		out["login typ "+typ] = forge(oursEC(), `{"alg":"ES256","kid":"ec","typ":"`+typ+`"}`, text(good()))
	}
	for name, v := range tooMuch() {
		changed("login claims "+name, "x", v)
	}
	names := good()
	for i := range maxClaims {
		names["c"+string(rune('A'+i/26))+string(rune('A'+i%26))] = 1
	}
	out["login claims by name"] = forge(oursEC(), es256, text(names))
	return out
}

// tooMuch are claims that are not kept.
func tooMuch() map[string]any {
	deep := any("x")
	for range maxClaimDepth + 1 {
		deep = []any{deep}
	}
	objects := any("x")
	for range maxClaimDepth + 1 {
		objects = object{"o": objects}
	}
	return map[string]any{
		"deep": deep, "deep objects": objects, "many": slices.Repeat([]int{1}, maxClaimValues), "long": strings.Repeat("x", maxClaimBytes),
		"long name": object{strings.Repeat("x", maxClaimBytes): 1}, "long number": json.RawMessage(strings.Repeat("1", maxClaimBytes)),
		"empty lists": slices.Repeat([]any{[]any{}}, maxClaimValues),
	}
}

func TestForgedLogin(t *testing.T) {
	p := newIDP(t)
	v := p.loginValidator(t)
	tokens := loginForgeries()
	if len(tokens) < 150 {
		t.Fatalf("only %d tokens", len(tokens))
	}
	for name, token := range tokens {
		claims, err := v.Validate(t.Context(), token, client(), noon)
		if err == nil || claims != nil {
			t.Errorf("%s: accepted", name)
		} else if !errors.Is(err, latchkey.ErrForbidden) {
			t.Errorf("%s: %v does not match ErrForbidden", name, err)
		}
	}
	for name, want := range map[string]error{
		"login aud first": ErrAudience, "login exp now": ErrExpired, "exp past": ErrExpired, "login claims deep": ErrClaims, "login claims by name": ErrClaims,
		"cnf missing": ErrBinding, "cnf of another": ErrBinding, "login scope null": ErrMalformed, "login typ connect+jwt": ErrMalformed, "nbf ahead": ErrTime,
	} {
		if _, err := v.Validate(t.Context(), tokens[name], client(), noon); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, thief := range map[string]Client{"another key": {Key: &theirsEC().PublicKey}, "no key": {}} {
		if _, err := v.Validate(t.Context(), forge(oursEC(), es256, text(good())), thief, noon); !errors.Is(err, ErrBinding) {
			t.Errorf("stolen by %s: %v", name, err)
		}
	}
	if n := p.hits.Load(); n != 1 {
		t.Errorf("%d tokens made %d fetches", len(tokens), n)
	}
	t.Logf("%d forged tokens refused", len(tokens))
}

// A client is told that its token has expired, and nothing else.
func TestLoginCodes(t *testing.T) {
	v := newIDP(t).loginValidator(t)
	for name, token := range loginForgeries() {
		_, err := v.Validate(t.Context(), token, client(), noon)
		if want := errors.Is(err, ErrExpired); want != (latchkey.CodeOf(err) == latchkey.CodeTokenExpired) || !want && latchkey.CodeOf(err) != latchkey.CodeForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	gate := newIDP(t).validator(t)
	old := forge(oursEC(), es256, text(with(good(), "exp", noon.Unix()-3600)))
	if _, err := gate.Validate(t.Context(), old, client(), noon); latchkey.CodeOf(err) != latchkey.CodeForbidden {
		t.Errorf("at the gate: %v", err)
	}
	if _, err := gate.Validate(t.Context(), forge(oursEC(), `{"alg":"ES256","kid":"ec","typ":"login+jwt"}`, text(good())), client(), noon); !errors.Is(err, ErrMalformed) {
		t.Errorf("a token that logs in, at the gate: %v", err)
	}
}

// The binding of a token that logs in has no off switch.
func TestLoginSettings(t *testing.T) {
	right := Issuer{Issuer: "i", Audience: "acme/gw1", JWKS: "https://idp.example/keys"}
	change := func(f func(*Issuer)) []Issuer { is := right; f(&is); return []Issuer{is} }
	yes, no := true, false
	if _, err := New(change(func(i *Issuer) { i.RequireBinding = &yes }), Options{Login: true}); err != nil {
		t.Error(err)
	}
	for name, issuers := range map[string][]Issuer{
		"no binding": change(func(i *Issuer) { i.RequireBinding = &no }), "devices": change(func(i *Issuer) { i.DevicesClaim = "devices" }),
		"products": change(func(i *Issuer) { i.Products = []string{"acme"} }), "no audience": change(func(i *Issuer) { i.Audience = "" }),
		"HS256": change(func(i *Issuer) { i.Algorithms = []string{"HS256"} }), "http": change(func(i *Issuer) { i.JWKS = "http://idp.example/keys" }), "twice": {right, right},
	} {
		if _, err := New(issuers, Options{Login: true}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Whatever words a token has, none comes out that did not stand there.
func FuzzScope(f *testing.F) {
	for _, seed := range []string{`""`, `"coap:get tunnel:open"`, `["a","b c"]`, `null`, `1`, `"\u00a0*"`, `"a\t*"`, `["*"]`, `{"a":1}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, claim string) {
		claims, err := parseObject([]byte(`{"scope":` + claim + `}`))
		if err != nil {
			return
		}
		words, err := scope(claims)
		if err != nil {
			return
		}
		if _, there := claims["scope"]; there && words == nil {
			t.Error("a scope is taken for none")
		}
		whole, _ := texts(claims["scope"])
		for _, word := range words {
			if _, list := claims["scope"].([]any); list && !slices.Contains(whole, word) ||
				!list && !slices.Contains(strings.Split(whole[0], " "), word) {
				t.Errorf("%q is not in %q", word, whole)
			}
		}
	})
}

func BenchmarkLogin(b *testing.B) {
	v := newIDP(b).loginValidator(b)
	token := forge(oursEC(), es256, text(good()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Validate(b.Context(), token, client(), noon.Add(time.Second)); err != nil {
			b.Fatal(err)
		}
	}
}
