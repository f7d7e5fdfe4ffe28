package bearer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-dev/latchkey"
)

func TestAccepted(t *testing.T) {
	v := newIDP(t).validator(t)
	cert := sha256.Sum256([]byte("a certificate"))
	jkt := good()["cnf"].(object)["jkt"]
	shown := Client{Key: &clientEC().PublicKey, Certificate: cert}
	x5t := b64.EncodeToString(cert[:])
	for name, c := range map[string]struct {
		token  string
		client Client
	}{
		"ES256":                {mint(jwt.SigningMethodES256, oursEC(), "ec", good()), client()},
		"EdDSA":                {mint(jwt.SigningMethodEdDSA, oursEd(), "ed", good()), client()},
		"RS256":                {mint(jwt.SigningMethodRS256, oursRSA(), "rsa", good()), client()},
		"PS256":                {mint(jwt.SigningMethodPS256, oursRSA(), "rsa", good()), client()},
		"without typ":          {forge(oursEC(), `{"alg":"ES256","kid":"ec"}`, text(good())), client()},
		"access token":         {forge(oursEC(), `{"alg":"ES256","kid":"ec","typ":"at+JWT"}`, text(good())), client()},
		"two audiences":        {forge(oursEC(), es256, text(with(good(), "aud", []string{"other", "gate"}))), client()},
		"devices in one text":  {forge(oursEC(), es256, text(with(good(), "devices", "acme/gw1 zeta/*"))), client()},
		"no nbf, iat, sub":     {forge(oursEC(), es256, text(with(good(), "nbf", nil, "iat", nil, "sub", nil))), client()},
		"just within leeway":   {forge(oursEC(), es256, text(with(good(), "exp", noon.Unix()-59))), client()},
		"nbf just ahead":       {forge(oursEC(), es256, text(with(good(), "nbf", noon.Unix()+60))), client()},
		"bound to certificate": {forge(oursEC(), es256, text(with(good(), "cnf", object{"x5t#S256": x5t}))), shown},
		"bound to both":        {forge(oursEC(), es256, text(with(good(), "cnf", object{"x5t#S256": x5t, "jkt": jkt}))), shown},
	} {
		claims, err := v.Validate(t.Context(), c.token, c.client, noon)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for id, want := range map[latchkey.DeviceID]bool{
			{Product: "acme", Device: "gw1"}: true, {Product: "acme", Device: "gw2"}: false,
			{Product: "zeta", Device: "any"}: true, {Product: "zetas", Device: "any"}: false,
			{Product: "zeta"}: false, {}: false,
		} {
			if claims.Allows(id) != want {
				t.Errorf("%s: Allows(%v) is %t", name, id, !want)
			}
		}
		if claims.Issuer != "https://idp.example" || claims.Subject != "alice" && name != "no nbf, iat, sub" || claims.Expires.IsZero() {
			t.Errorf("%s: %+v", name, claims)
		}
	}
}

// forgeries are tokens of which none may be accepted.
func forgeries() map[string]string {
	out := make(map[string]string)
	whole := forge(oursEC(), es256, text(good()))
	parts := strings.Split(whole, ".")
	signed := func(name, header, payload string) { out[name] = forge(oursEC(), header, payload) }
	changed := func(name string, pairs ...any) { signed(name, es256, text(with(good(), pairs...))) }

	for i, alg := range []string{`"none"`, `"None"`, `"NONE"`, `""`, `null`, `1`, `["ES256"]`, `{}`, `"es256"`, `"ES256K"`, `"ES384"`, `"ES512"`, `"HS256"`, `"HS512"`, `"RS512"`, `"RS256"`, `"EdDSA"`, `"ES256 "`} {
		header := `{"alg":` + alg + `,"kid":"ec"}`
		signed("alg "+alg, header, text(good()))
		if i < 6 {
			out["alg "+alg+", no signature"] = b64.EncodeToString([]byte(header)) + "." + parts[1] + "."
		}
	}
	for _, kid := range []string{"ec", "rsa", "ed"} {
		for _, alg := range []string{"ES256", "EdDSA", "RS256", "PS256"} {
			if kid != "ec" || alg != "ES256" {
				signed("kid "+kid+" as "+alg, `{"alg":"`+alg+`","kid":"`+kid+`"}`, text(good()))
			}
		}
	}
	point := must(oursEC().PublicKey.Bytes())
	der := must(x509PKIX(&oursEC().PublicKey))
	for name, secret := range map[string][]byte{
		"point": point, "DER": der, "PEM": pemOf(der), "JWK": []byte(text(ecJWK(&oursEC().PublicKey, "ec"))), "nothing": {}, "set": ourKeys(),
	} {
		out["HS256 with our key's "+name] = mint(jwt.SigningMethodHS256, secret, "ec", good())
	}
	for name, member := range map[string]string{
		"jwk": text(ecJWK(&theirsEC().PublicKey, "ec")), "jku": `"https://evil.example/keys"`, "x5u": `"https://evil.example/c"`, "x5c": `["AA=="]`,
		"crit": `["exp"]`, "b64": `false`, "zip": `"DEF"`, "p2c": `1000000000`,
	} {
		header := `{"alg":"ES256","kid":"ec","` + name + `":` + member + `}`
		signed("header "+name, header, text(good()))
		out["header "+name+", their key"] = forge(theirsEC(), header, text(good()))
	}
	for name, kid := range map[string]string{
		"missing": ``, "unknown": `,"kid":"other"`, "path": `,"kid":"../../ec"`, "sql": `,"kid":"ec' OR 1=1"`, "zero": `,"kid":"ec\u0000"`,
		"long": `,"kid":"` + strings.Repeat("e", 1000) + `"`, "number": `,"kid":1`, "empty": `,"kid":""`, "array": `,"kid":["ec"]`, "twice": `,"kid":"ec","kid":"ec"`, "case": `,"kid":"EC"`,
	} {
		signed("kid "+name, `{"alg":"ES256"`+kid+`}`, text(good()))
	}
	for _, typ := range []string{`"dpop+jwt"`, `"logout+jwt"`, `"JOSE"`, `"device+jwt"`, `""`, `1`, `null`} {
		signed("typ "+typ, `{"alg":"ES256","kid":"ec","typ":`+typ+`}`, text(good()))
	}
	for name, aud := range map[string]any{
		"missing": nil, "wrong": "door", "prefix": "gat", "longer": "gates", "case": "Gate", "slash": "gate/", "empty": "", "list": []string{"door"},
		"empty list": []string{}, "number": 1, "object": object{"gate": 1}, "mixed": []any{"gate", 1}, "space": "gate door",
	} {
		changed("aud "+name, "aud", aud)
	}
	for name, iss := range map[string]any{
		"missing": nil, "wrong": "https://evil.example", "slash": "https://idp.example/", "case": "https://IDP.example", "http": "http://idp.example",
		"list": []string{"https://idp.example"}, "longer": "https://idp.example.evil", "cyrillic": "https://іdp.example", "number": 1,
	} {
		changed("iss "+name, "iss", iss)
	}
	for name, exp := range map[string]any{
		"missing": nil, "at the end of the leeway": noon.Unix() - 60, "past": noon.Unix() - 3600, "zero": 0, "negative": -1, "text": "9999999999",
		"fraction": 9999999999.5, "far": 1e18, "list": []int64{9999999999}, "true": true,
	} {
		changed("exp "+name, "exp", exp)
	}
	for name, exp := range map[string]string{"1e999": "1e999", "1e10": "1e10", "-0": "-0.0", "null": "null"} {
		signed("exp "+name, es256, strings.Replace(text(with(good(), "exp", 77)), `"exp":77`, `"exp":`+exp, 1))
	}
	for _, name := range []string{"nbf", "iat"} {
		changed(name+" ahead", name, noon.Unix()+61)
		changed(name+" as text", name, "0")
		changed(name+" far", name, int64(1)<<62)
	}
	jkt := good()["cnf"].(object)["jkt"]
	other := must(Thumbprint(&theirsEC().PublicKey))
	fp := must(latchkey.FingerprintOf(&clientEC().PublicKey))
	for name, cnf := range map[string]any{
		"missing": nil, "of another": object{"jkt": other}, "empty": object{}, "text": jkt, "list": []any{object{"jkt": jkt}}, "null": object{"jkt": nil},
		"empty jkt": object{"jkt": ""}, "case": object{"JKT": jkt}, "padded": object{"jkt": jkt.(string) + "="}, "and more": object{"jkt": jkt, "jku": "https://evil.example"},
		"fingerprint as jkt": object{"jkt": b64.EncodeToString(fp.Bytes())}, "key as certificate": object{"x5t#S256": b64.EncodeToString(fp.Bytes())},
		"empty certificate": object{"x5t#S256": ""}, "zero certificate": object{"x5t#S256": b64.EncodeToString(make([]byte, 32))},
		"one of two": object{"jkt": jkt, "x5t#S256": other}, "jwk": object{"jwk": ecJWK(&clientEC().PublicKey, "c")}, "kid": object{"kid": jkt},
	} {
		changed("cnf "+name, "cnf", cnf)
	}
	for name, devices := range map[string]any{
		"missing": nil, "none": []string{}, "empty": "", "star": "*", "stars": []string{"*/*"}, "one bad": []string{"acme/gw1", "../x"}, "upper case": "ACME/GW1",
		"number": 1, "mixed": []any{"acme/gw1", 1}, "two spaces": "acme/gw1  acme/gw2", "prefix": "acme/gw*", "object": object{"acme/gw1": true},
	} {
		changed("devices "+name, "devices", devices)
	}
	changed("sub with zero", "sub", "ali\x00ce")
	changed("sub number", "sub", 1)
	changed("sub long", "sub", strings.Repeat("a", 300))

	payload := text(good())
	for name, p := range map[string]string{
		"a name twice": strings.Replace(payload, `{`, `{"aud":"door",`, 1), "deep": `{"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `,` + payload[1:],
		"many": `{"x":[` + strings.Repeat("1,", 2500) + `1],` + payload[1:], "surrogate": strings.Replace(payload, `alice`, `\ud800`, 1),
		"bad UTF-8": strings.Replace(payload, `alice`, "\xff", 1), "more behind": payload + `{}`, "array": `[` + payload + `]`, "null": `null`, "empty": `{}`,
		"nothing": ``, "comment": `/**/` + payload, "cut": payload[:len(payload)-1], "a byte order mark": "\ufeff" + payload,
		"an upper-case name": strings.Replace(payload, `"exp"`, `"EXP"`, 1), "a nested name twice": strings.Replace(payload, `"cnf":{`, `"cnf":{"jkt":"x",`, 1),
	} {
		signed("payload "+name, es256, p)
	}
	signed("header a name twice", `{"alg":"none","alg":"ES256","kid":"ec"}`, payload)
	signed("header an upper-case name", `{"ALG":"ES256","kid":"ec"}`, payload)
	signed("header array", `["ES256"]`, payload)

	sig := must(b64.DecodeString(parts[2]))
	n, half := elliptic.P256().Params().N.FillBytes(make([]byte, 32)), make([]byte, 32)
	body := parts[0] + "." + parts[1] + "."
	for name, s := range map[string][]byte{
		"zeros": make([]byte, 64), "r zero": append(half[:32:32], sig[32:]...), "s zero": append(sig[:32:32], half...), "r = n": append(n[:32:32], sig[32:]...),
		"s = n": append(sig[:32:32], n...), "short": sig[:63], "long": append(sig[:64:64], 0), "swapped": append(sig[32:64:64], sig[:32]...),
		"DER": must(ecdsa.SignASN1(rand.Reader, oursEC(), digest(body[:len(body)-1]))), "s + n": append(sig[:32:32], plusN(sig[32:])...),
	} {
		out["signature "+name] = body + b64.EncodeToString(s)
	}
	out["signature missing"] = body
	out["signature of theirs"] = forge(theirsEC(), es256, payload)
	out["signature of the client"] = forge(clientEC(), es256, payload)
	out["signature of another token"] = body + strings.Split(forge(oursEC(), es256, text(with(good(), "sub", "bob"))), ".")[2]
	out["padding"] = whole + "="
	out["padding inside"] = parts[0] + "=." + parts[1] + "." + parts[2]
	out["line break"] = whole[:len(whole)-5] + "\n" + whole[len(whole)-5:]
	out["line break in header"] = whole[:5] + "\r\n" + whole[5:]
	out["space before"], out["space behind"] = " "+whole, whole+" "
	out["standard alphabet"] = parts[0] + "." + parts[1] + "." + base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\xff\xef", 32)))
	out["loose bits"] = whole[:len(whole)-1] + string(loose(whole[len(whole)-1]))
	out["two parts"], out["four parts"], out["five parts"] = parts[0]+"."+parts[1], whole+".", whole+".."
	out["nothing"], out["dots"], out["many dots"] = "", "..", strings.Repeat(".", 1<<20)
	out["bearer"] = "Bearer " + whole
	out["too long"] = forge(oursEC(), es256, text(with(good(), "x", strings.Repeat("x", MaxToken))))
	return out
}

func digest(s string) []byte { sum := sha256.Sum256([]byte(s)); return sum[:] }

// plusN is s + n if that has 32 bytes, otherwise n.
func plusN(s []byte) []byte {
	n := elliptic.P256().Params().N
	if sum := new(big.Int).Add(new(big.Int).SetBytes(s), n); sum.BitLen() <= 256 {
		return sum.FillBytes(make([]byte, 32))
	}
	return n.FillBytes(make([]byte, 32))
}

// loose changes the bits of the last character that stand for nothing: 64 bytes
// leave four of them.
func loose(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1]
}

func TestForged(t *testing.T) {
	p := newIDP(t)
	v := p.validator(t)
	tokens := forgeries()
	if len(tokens) < 100 {
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
	if _, err := v.Validate(t.Context(), forge(oursEC(), es256, text(good())), client(), noon); err != nil {
		t.Errorf("the whole one is refused too: %v", err)
	}
	if n := p.hits.Load(); n != 1 {
		t.Errorf("%d tokens made %d fetches", len(tokens), n)
	}
	t.Logf("%d forged tokens refused", len(tokens))
}

// Refusals say why, to the log.
func TestReasons(t *testing.T) {
	v := newIDP(t).validator(t)
	all := forgeries()
	for name, want := range map[string]error{
		"alg \"HS256\"": ErrAlgorithm, "kid unknown": ErrNoKey, "iss wrong": ErrIssuer, "exp past": ErrTime, "nbf ahead": ErrTime, "aud wrong": ErrAudience,
		"cnf of another": ErrBinding, "cnf missing": ErrBinding, "devices missing": ErrDevices, "signature of theirs": ErrSignature, "nothing": ErrMalformed,
	} {
		if _, err := v.Validate(t.Context(), all[name], client(), noon); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A stolen token is worth nothing to somebody with another key.
func TestStolen(t *testing.T) {
	v := newIDP(t).validator(t)
	token := forge(oursEC(), es256, text(good()))
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	for name, thief := range map[string]Client{
		"another key": {Key: &theirsEC().PublicKey}, "no key": {}, "another curve": {Key: &p384.PublicKey}, "a certificate": {Certificate: [32]byte{1}},
	} {
		if _, err := v.Validate(t.Context(), token, thief, noon); !errors.Is(err, ErrBinding) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBindingOptional(t *testing.T) {
	p := newIDP(t)
	no := false
	is := p.issuer()
	is.RequireBinding = &no
	v, err := New([]Issuer{is}, p.options())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Validate(t.Context(), forge(oursEC(), es256, text(with(good(), "cnf", nil))), Client{}, noon); err != nil {
		t.Errorf("without cnf: %v", err)
	}
	if _, err := v.Validate(t.Context(), forge(oursEC(), es256, text(good())), Client{Key: &theirsEC().PublicKey}, noon); !errors.Is(err, ErrBinding) {
		t.Errorf("a cnf that does not fit: %v", err)
	}
}

// One issuer cannot speak for another, nor for products that are not its own.
func TestIssuersApart(t *testing.T) {
	p, q := newIDP(t), newIDP(t)
	q.serve(keySetJSON(ecJWK(&theirsEC().PublicKey, "ec"), ecJWK(&theirsEC().PublicKey, "theirs")))
	one, two := p.issuer(), q.issuer()
	one.Products, one.Algorithms = []string{"zeta"}, []string{"ES256"}
	two.Issuer, two.DevicesClaim = "https://two.example", "things"
	pool := p.roots()
	pool.AddCert(q.Certificate())
	o := p.options()
	o.Roots = pool
	v, err := New([]Issuer{one, two}, o)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := v.Validate(t.Context(), forge(oursEC(), es256, text(good())), client(), noon)
	if err != nil || len(claims.Devices) != 1 || claims.Devices[0].String() != "zeta/*" {
		t.Errorf("%+v, %v", claims, err)
	}
	as := with(good(), "iss", "https://two.example", "things", "acme/gw7")
	if claims, err = v.Validate(t.Context(), forge(theirsEC(), es256, text(as)), client(), noon); err != nil || claims.Devices[0].String() != "acme/gw7" {
		t.Errorf("the other issuer: %+v, %v", claims, err)
	}
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"their key for us":      {forge(theirsEC(), es256, text(good())), ErrSignature},
		"our key for them":      {forge(oursEC(), es256, text(as)), ErrSignature},
		"their kid for us":      {forge(theirsEC(), `{"alg":"ES256","kid":"theirs"}`, text(good())), ErrNoKey},
		"no product of ours":    {forge(oursEC(), es256, text(with(good(), "devices", "acme/gw1"))), ErrDevices},
		"their claim's name":    {forge(theirsEC(), es256, text(with(good(), "iss", "https://two.example"))), ErrDevices},
		"an algorithm not ours": {mint(jwt.SigningMethodEdDSA, oursEd(), "ed", good()), ErrAlgorithm},
	} {
		if _, err := v.Validate(t.Context(), c.token, client(), noon); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	right := Issuer{Issuer: "i", Audience: "a", JWKS: "https://idp.example/keys"}
	change := func(f func(*Issuer)) []Issuer { is := right; f(&is); return []Issuer{is} }
	if _, err := New([]Issuer{right}, Options{}); err != nil {
		t.Fatal(err)
	}
	for name, issuers := range map[string][]Issuer{
		"twice":       {right, right},
		"no issuer":   change(func(i *Issuer) { i.Issuer = "" }),
		"no audience": change(func(i *Issuer) { i.Audience = "" }),
		"none":        change(func(i *Issuer) { i.Algorithms = []string{"none"} }),
		"HS256":       change(func(i *Issuer) { i.Algorithms = []string{"ES256", "HS256"} }),
		"http":        change(func(i *Issuer) { i.JWKS = "http://idp.example/keys" }),
		"http local":  change(func(i *Issuer) { i.JWKS = "http://127.0.0.1/keys" }),
		"file":        change(func(i *Issuer) { i.JWKS = "file:///etc/passwd" }),
		"no host":     change(func(i *Issuer) { i.JWKS = "https:///keys" }),
		"user":        change(func(i *Issuer) { i.JWKS = "https://u:p@idp.example/keys" }),
		"no URL":      change(func(i *Issuer) { i.JWKS = "" }),
		"negative":    change(func(i *Issuer) { i.MaxAge = -time.Second }),
	} {
		if _, err := New(issuers, Options{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// RFC 7638 has no example on P-256; this one was computed by hand from its rules.
func TestThumbprint(t *testing.T) {
	key := &clientEC().PublicKey
	jwk := ecJWK(key, "")
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + jwk["x"].(string) + `","y":"` + jwk["y"].(string) + `"}`))
	if got, err := Thumbprint(key); err != nil || got != b64.EncodeToString(sum[:]) {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := Thumbprint(nil); !errors.Is(err, latchkey.ErrKeyType) {
		t.Errorf("no key: %v", err)
	}
}

func FuzzValidate(f *testing.F) {
	p := newIDP(f)
	v := p.validator(f)
	whole := forge(oursEC(), es256, text(good()))
	f.Add(whole)
	for _, token := range forgeries() {
		if len(token) < 2000 {
			f.Add(token)
		}
	}
	signed := whole[:strings.LastIndexByte(whole, '.')]
	f.Fuzz(func(t *testing.T, token string) {
		_, err := v.Validate(t.Context(), token, client(), noon)
		if err == nil && !strings.HasPrefix(token, signed+".") { // the signature alone may be spelled in two ways
			t.Errorf("accepted %q", token)
		}
	})
}
