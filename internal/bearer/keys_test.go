package bearer

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// at validates a token of that key id, made by the issuer, at a time after noon.
func at(t *testing.T, v *Validator, kid string, after time.Duration) error {
	t.Helper()
	now := noon.Add(after)
	claims := with(good(), "exp", now.Add(time.Hour).Unix())
	_, err := v.Validate(t.Context(), forge(oursEC(), `{"alg":"ES256","kid":"`+kid+`"}`, text(claims)), client(), now)
	return err
}

func hits(t *testing.T, p *idp, want int32) {
	t.Helper()
	if n := p.hits.Load(); n != want {
		t.Errorf("%d fetches, want %d", n, want)
	}
}

// Keys outlive an outage up to their greatest age. Then nothing is accepted, and
// the first fetch that works ends it. There is one try a minute.
func TestOutage(t *testing.T) {
	p := newIDP(t)
	v := p.validator(t)
	if err := at(t, v, "ec", 0); err != nil {
		t.Fatal(err)
	}
	p.fail()
	for _, step := range []struct {
		after time.Duration
		hits  int32
		want  error
	}{
		{14 * time.Minute, 1, nil},
		{15 * time.Minute, 2, nil},
		{15*time.Minute + 59*time.Second, 2, nil},
		{16 * time.Minute, 3, nil},
		{24*time.Hour - time.Second, 4, nil},
		{24 * time.Hour, 4, ErrNoKeys},
		{24*time.Hour + 58*time.Second, 4, ErrNoKeys},
		{25 * time.Hour, 5, ErrNoKeys},
	} {
		if err := at(t, v, "ec", step.after); !errors.Is(err, step.want) {
			t.Errorf("after %v: %v", step.after, err)
		}
		hits(t, p, step.hits)
	}
	p.serve(ourKeys())
	if err := at(t, v, "ec", 25*time.Hour+59*time.Second); !errors.Is(err, ErrNoKeys) {
		t.Errorf("too early: %v", err)
	}
	if err := at(t, v, "ec", 25*time.Hour+time.Minute); err != nil {
		t.Errorf("after the outage: %v", err)
	}
	hits(t, p, 6)
}

// A new configuration leaves the keys to the issuers that stay as they are, even
// while those cannot be reached.
func TestReconfigured(t *testing.T) {
	p := newIDP(t)
	v := p.validator(t)
	if err := at(t, v, "ec", 0); err != nil {
		t.Fatal(err)
	}
	p.fail()
	o, is := p.options(), p.issuer()
	o.Before = v
	other := is
	other.Issuer = "https://other.example"
	next, err := New([]Issuer{other, is}, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := at(t, next, "ec", time.Minute); err != nil {
		t.Errorf("an issuer that stays: %v", err)
	}
	hits(t, p, 1)
	is.JWKS += "?other"
	if next, err = New([]Issuer{is}, o); err != nil {
		t.Fatal(err)
	}
	if err := at(t, next, "ec", time.Minute); !errors.Is(err, ErrNoKeys) {
		t.Errorf("an issuer with another key set: %v", err)
	}
}

// Before the first fetch worked nothing is accepted.
func TestNeverFetched(t *testing.T) {
	p := newIDP(t)
	p.fail()
	v := p.validator(t)
	for range 5 {
		if err := at(t, v, "ec", 0); !errors.Is(err, ErrNoKeys) {
			t.Errorf("%v", err)
		}
	}
	hits(t, p, 1)
}

// A new key id is looked for at once, but unknown ones cost one fetch a minute. A
// key that is no longer published is not accepted any more.
func TestRotation(t *testing.T) {
	p := newIDP(t)
	v := p.validator(t)
	if err := at(t, v, "ec", 0); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := at(t, v, fmt.Sprintf("unknown-%d", i), 10*time.Second); !errors.Is(err, ErrNoKey) {
			t.Errorf("%v", err)
		}
	}
	hits(t, p, 1)
	p.serve(keySetJSON(ecJWK(&oursEC().PublicKey, "ec"), ecJWK(&oursEC().PublicKey, "next")))
	if err := at(t, v, "next", 59*time.Second); !errors.Is(err, ErrNoKey) {
		t.Errorf("within a minute: %v", err)
	}
	for _, kid := range []string{"next", "ec"} {
		if err := at(t, v, kid, time.Minute); err != nil {
			t.Errorf("overlap, %s: %v", kid, err)
		}
	}
	hits(t, p, 2)
	p.serve(keySetJSON(ecJWK(&oursEC().PublicKey, "next")))
	if err := at(t, v, "ec", 17*time.Minute); !errors.Is(err, ErrNoKey) {
		t.Errorf("withdrawn: %v", err)
	}
	if err := at(t, v, "next", 17*time.Minute); err != nil {
		t.Errorf("next: %v", err)
	}
	hits(t, p, 3)
}

// A clock that was put back by a year does not make old keys young.
func TestClockPutBack(t *testing.T) {
	p := newIDP(t)
	v := p.validator(t)
	if err := at(t, v, "ec", 0); err != nil {
		t.Fatal(err)
	}
	p.fail()
	if err := at(t, v, "ec", -365*24*time.Hour); !errors.Is(err, ErrNoKeys) {
		t.Errorf("%v", err)
	}
	hits(t, p, 2)
}

// Many callers share one fetch, and those whose key is there wait for nobody.
func TestOneFetchForAll(t *testing.T) {
	p := newIDP(t)
	v := p.validator(t)
	begun, release := make(chan struct{}), make(chan struct{})
	p.do(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-release
		_, _ = w.Write(ourKeys())
	})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := at(t, v, "ec", 0); err != nil {
				t.Error(err)
			}
		})
	}
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	token := forge(oursEC(), es256, text(good()))
	if _, err := v.Validate(ctx, token, client(), noon); !errors.Is(err, ErrNoKeys) {
		t.Errorf("a caller who is gone: %v", err)
	}
	close(release)
	all.Wait()
	hits(t, p, 1)

	begun, release = make(chan struct{}), make(chan struct{})
	all.Go(func() {
		if err := at(t, v, "new", 20*time.Minute); !errors.Is(err, ErrNoKey) {
			t.Error(err)
		}
	})
	<-begun
	if err := at(t, v, "ec", 20*time.Minute); err != nil {
		t.Errorf("a known key while another one is looked for: %v", err)
	}
	close(release)
	all.Wait()
	hits(t, p, 2)
}

// What a key server may answer, and must not.
func TestAnswers(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(append(ourKeys(), bytes.Repeat([]byte(" "), 1<<20)...))
	z.Close()
	many := make([]object, maxKeys+1)
	for i := range many {
		many[i] = object{"kty": "EC", "kid": fmt.Sprint(i)}
	}
	many[0] = ecJWK(&oursEC().PublicKey, "ec")
	ec := ecJWK(&oursEC().PublicKey, "ec")
	body := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		ok     bool
	}{
		"as it should be": {body(keySetJSON(ec)), true},
		"50 keys":         {body(keySetJSON(many[:maxKeys]...)), true},
		"51 keys":         {body(keySetJSON(many...)), false},
		"64 KiB":          {body(append(keySetJSON(ec), bytes.Repeat([]byte(" "), maxBody-len(keySetJSON(ec)))...)), true},
		"a byte more":     {body(append(keySetJSON(ec), bytes.Repeat([]byte(" "), maxBody+1-len(keySetJSON(ec)))...)), false},
		"an endless one":  {func(w http.ResponseWriter, _ *http.Request) { writeUntilError(w) }, false},
		"zipped": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(zipped.Bytes())
		}, false},
		"not JSON":   {body([]byte("<html>")), false},
		"nothing":    {body(nil), false},
		"no keys":    {body([]byte(`{}`)), false},
		"a list":     {body([]byte(`[]`)), false},
		"keys twice": {body([]byte(`{"keys":[],` + string(keySetJSON(ec))[1:])), false},
		"404":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404); _, _ = w.Write(keySetJSON(ec)) }, false},
		"206":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(206); _, _ = w.Write(keySetJSON(ec)) }, false},
		"large headers": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 32<<10))
			_, _ = w.Write(keySetJSON(ec))
		}, false},
		"hung up":          {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false},
		"for encryption":   {body(keySetJSON(with(ec, "use", "enc"))), false},
		"without use":      {body(keySetJSON(with(ec, "use", nil))), true},
		"to sign":          {body(keySetJSON(with(ec, "key_ops", []string{"sign"}))), false},
		"to verify":        {body(keySetJSON(with(ec, "key_ops", []string{"verify"}))), true},
		"another alg":      {body(keySetJSON(with(ec, "alg", "RS256"))), false},
		"a private key":    {body(keySetJSON(with(ec, "d", "AA"))), false},
		"another curve":    {body(keySetJSON(with(ec, "crv", "P-384"))), false},
		"off the curve":    {body(keySetJSON(with(ec, "x", ec["y"]))), false},
		"a short x":        {body(keySetJSON(with(ec, "x", ec["x"].(string)[:40]))), false},
		"the zero point":   {body(keySetJSON(with(ec, "x", b64.EncodeToString(make([]byte, 32)), "y", b64.EncodeToString(make([]byte, 32))))), false},
		"no id":            {body(keySetJSON(with(ec, "kid", nil))), false},
		"a symmetric key":  {body(keySetJSON(object{"kty": "oct", "kid": "ec", "k": "AAAA"})), false},
		"unknown kinds":    {body(keySetJSON(object{"kty": "LMS", "kid": "ec"}, object{"kid": "x"}, ec)), true},
		"the first counts": {body(keySetJSON(ec, ecJWK(&theirsEC().PublicKey, "ec"))), true},
		"a redirect within": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				http.Redirect(w, r, "/other", http.StatusFound)
				return
			}
			_, _ = w.Write(keySetJSON(ec))
		}, true},
		"a redirect in circles": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/keys", http.StatusFound) }, false},
	} {
		p := newIDP(t)
		p.do(c.answer)
		if err := at(t, p.validator(t), "ec", 0); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func writeUntilError(w http.ResponseWriter) {
	chunk := bytes.Repeat([]byte(" "), 4096)
	for {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// A server that gives one byte at a time, or none, does not hold anybody up.
func TestSlowAnswer(t *testing.T) {
	p := newIDP(t)
	p.do(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	begin := time.Now()
	if err := at(t, p.validator(t), "ec", 0); !errors.Is(err, ErrNoKeys) {
		t.Errorf("%v", err)
	}
	if took := time.Since(begin); took < fetchTimeout-time.Second {
		t.Errorf("it ended after %v, for another reason", took)
	}
}

func TestRedirectElsewhere(t *testing.T) {
	p, inside := newIDP(t), newIDP(t)
	for _, to := range []string{
		inside.URL + "/keys", "http://169.254.169.254/latest", "http://" + p.Listener.Addr().String() + "/keys", "https://evil.example/", "file:///etc/passwd",
		"//" + inside.Listener.Addr().String() + "/", "https://u:p@" + p.Listener.Addr().String() + "/keys",
	} {
		p.do(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
		})
		if err := at(t, p.validator(t), "ec", 0); !errors.Is(err, ErrNoKeys) {
			t.Errorf("to %s: %v", to, err)
		}
	}
	hits(t, inside, 0)

	f := newFetcher(must(url.Parse("https://idp.example/keys")), false, Options{})
	for to, want := range map[string]bool{
		"https://idp.example/other": true, "http://idp.example/keys": false, "https://idp.example:444/keys": false, "https://IDP.example.evil/": false,
		"https://u@idp.example/": false, "ftp://idp.example/": false,
	} {
		if err := f.checkRedirect(&http.Request{URL: must(url.Parse(to))}, nil); (err == nil) != want {
			t.Errorf("to %s: %v", to, err)
		}
	}
}

// A name that stands for an address that is not public is not dialled, also when
// it stands for a public one besides or a moment before.
func TestSpecialAddresses(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var dialled atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			dialled.Add(1)
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, host := range []string{
		"127.0.0.1", "localhost", "127.1", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "2130706433", "0x7f000001", "0177.0.0.1",
		"[64:ff9b::7f00:1]", "[::127.0.0.1]", "[2002:7f00:1::]", "rebind.example",
	} {
		answers := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::ffff:127.0.0.1"), netip.MustParseAddr("::1")}
		v, err := New([]Issuer{{Issuer: "https://idp.example", Audience: "gate", JWKS: "https://" + host + ":" + port + "/keys"}}, Options{
			Resolve: func(context.Context, string) ([]netip.Addr, error) { return answers, nil },
		})
		if err != nil {
			continue // the URL alone is refused
		}
		if err := at(t, v, "ec", 0); !errors.Is(err, ErrNoKeys) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if n := dialled.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

// The address that was looked at is the one that is dialled: a name is resolved
// once for each connection.
func TestResolvedOnce(t *testing.T) {
	p := newIDP(t)
	o := p.options()
	var asked atomic.Int32
	o.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
		if asked.Add(1) > 1 || host != "example.com" {
			return nil, errors.New("asked again")
		}
		return []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("127.0.0.1")}, nil
	}
	is := p.issuer()
	is.JWKS = "https://example.com:" + must(url.Parse(p.URL)).Port() + "/keys"
	v, err := New([]Issuer{is}, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := at(t, v, "ec", 0); err != nil {
		t.Error(err)
	}
	hits(t, p, 1)
}

// A server whose certificate nobody vouches for has no keys.
func TestUntrustedServer(t *testing.T) {
	p := newIDP(t)
	o := p.options()
	o.Roots = nil
	v, err := New([]Issuer{p.issuer()}, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := at(t, v, "ec", 0); !errors.Is(err, ErrNoKeys) {
		t.Errorf("%v", err)
	}
	hits(t, p, 0)
}

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		addrs             string
		private, loopback bool
		want              bool
	}{
		{"1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 192.0.1.1 198.17.0.1 198.20.0.1 223.255.255.255 2606:4700::1 2a00::1 ::ffff:1.1.1.1", false, false, true},
		{"10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 ::ffff:10.0.0.1 fc00::1 fdff::1", false, false, false},
		{"10.0.0.1 172.31.255.255 192.168.0.1 ::ffff:10.0.0.1 fc00::1", true, false, true},
		{"127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1", true, false, false},
		{"127.0.0.1 ::1 ::ffff:127.0.0.1", false, true, true},
		{"0.0.0.0 0.1.2.3 100.64.0.1 100.127.255.255 169.254.169.254 192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 " +
			"224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 ::ffff:169.254.169.254 :: ::2 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1 2001:10::1 2001:db8::1 " +
			"2002:7f00:1:: 3fff::1 4000::1 fe80::1 fec0::1 ff02::1 fe80::1%eth0 2606:4700::1%eth0", true, true, false},
	} {
		for s := range strings.FieldsSeq(c.addrs) {
			if got := allowed(netip.MustParseAddr(s), c.private, c.loopback); got != c.want {
				t.Errorf("%s, private %t, loopback %t: %t", s, c.private, c.loopback, got)
			}
		}
	}
	if allowed(netip.Addr{}, true, true) {
		t.Error("no address is allowed")
	}
}

// RSA keys that are too small, too large or odd are passed over.
func TestRSAKeys(t *testing.T) {
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	right := rsaJWK(&oursRSA().PublicKey, "rsa")
	n := oursRSA().N.Bytes()
	for name, c := range map[string]struct {
		jwk object
		ok  bool
	}{
		"right":        {right, true},
		"1024 bits":    {rsaJWK(&small.PublicKey, "rsa"), false},
		"2047 bits":    {with(right, "n", b64.EncodeToString(append([]byte{n[0] &^ 0x80}, n[1:]...))), false},
		"16384 bits":   {with(right, "n", b64.EncodeToString(bytes.Repeat([]byte{0xff}, 2048))), false},
		"an even n":    {with(right, "n", b64.EncodeToString(append(n[:len(n)-1:len(n)-1], n[len(n)-1]&^1))), false},
		"exponent 1":   {with(right, "e", "AQ"), false},
		"an even e":    {with(right, "e", "Ag"), false},
		"no exponent":  {with(right, "e", nil), false},
		"a large one":  {with(right, "e", b64.EncodeToString([]byte{0xff, 0xff, 0xff, 0xff})), false},
		"a huge one":   {with(right, "e", b64.EncodeToString(bytes.Repeat([]byte{0xff}, 64))), false},
		"other alg":    {with(right, "alg", "RS512"), false},
		"for one only": {with(right, "alg", "PS256"), true},
	} {
		if _, err := parseKeys(keySetJSON(c.jwk)); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := newIDP(t)
	p.serve(keySetJSON(with(right, "alg", "PS256")))
	v := p.validator(t)
	if _, err := v.Validate(t.Context(), mint(jwt.SigningMethodRS256, oursRSA(), "rsa", good()), client(), noon); !errors.Is(err, ErrNoKey) {
		t.Errorf("RS256 with a key for PS256: %v", err)
	}
	if _, err := v.Validate(t.Context(), mint(jwt.SigningMethodPS256, oursRSA(), "rsa", good()), client(), noon); err != nil {
		t.Errorf("PS256: %v", err)
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add(ourKeys())
	f.Add([]byte(`{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := parseKeys(body)
		if (err == nil) != (len(keys) > 0) || len(keys) > 2*maxKeys {
			t.Errorf("%d keys, %v", len(keys), err)
		}
	})
}
