package latchkey_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	latchkey "github.com/latchkey-dev/latchkey"
)

// The vector was made with openssl; anyone can repeat it with
//
//	openssl pkey -pubin -pubout -outform der | sha256sum
const (
	vectorKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/Wb8hgr/Q9euBlcTwNSCPWY2NGYG
AuHWQ0Y44UXghcIs2Ut3zU+eX5nB3L+LnLTxGleE2KuqPPTc9+pFJCsuGw==
-----END PUBLIC KEY-----
`
	vectorFingerprint = "8d47e7465d8fb5afd9a6771b8a87f5032a8b3d79382d09768613e4bda1aa8d4d"
)

func vectorPublicKey(t testing.TB) *ecdsa.PublicKey {
	t.Helper()
	block, _ := pem.Decode([]byte(vectorKey))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*ecdsa.PublicKey)
}

func TestFingerprintVector(t *testing.T) {
	got, err := latchkey.FingerprintOf(vectorPublicKey(t))
	if err != nil || got.String() != vectorFingerprint {
		t.Fatalf("FingerprintOf = %q, %v; want %q", got, err, vectorFingerprint)
	}
}

func TestFingerprintOfRefusesOtherKeys(t *testing.T) {
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	edKey, _, _ := ed25519.GenerateKey(rand.Reader)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for name, key := range map[string]any{
		"nil":                nil,
		"nil pointer":        (*ecdsa.PublicKey)(nil),
		"no curve":           &ecdsa.PublicKey{},
		"P-384":              p384.Public(),
		"RSA":                rsaKey.Public(),
		"Ed25519":            edKey,
		"private key":        p256,
		"text":               vectorFingerprint,
		"key not by pointer": *p256.Public().(*ecdsa.PublicKey),
	} {
		if got, err := latchkey.FingerprintOf(key); !errors.Is(err, latchkey.ErrKeyType) || !got.IsZero() {
			t.Errorf("%s: FingerprintOf = %q, %v; want ErrKeyType", name, got, err)
		}
	}
}

func TestParseFingerprint(t *testing.T) {
	f, err := latchkey.ParseFingerprint(vectorFingerprint)
	if err != nil || f.String() != vectorFingerprint || f.IsZero() {
		t.Fatalf("ParseFingerprint = %q, %v", f, err)
	}
	if want := vectorFingerprint[:12]; f.Short() != want {
		t.Errorf("Short = %q, want %q", f.Short(), want)
	}
	again, err := latchkey.FingerprintFromBytes(f.Bytes())
	if err != nil || again != f {
		t.Errorf("FingerprintFromBytes(Bytes) = %q, %v", again, err)
	}
	f.Bytes()[0] ^= 1
	if again != f {
		t.Error("a change to Bytes changed the fingerprint")
	}
}

func TestParseFingerprintRefuses(t *testing.T) {
	for name, s := range map[string]string{
		"empty":          "",
		"short":          vectorFingerprint[:63],
		"short form":     vectorFingerprint[:12],
		"long":           vectorFingerprint + "0",
		"upper case":     strings.ToUpper(vectorFingerprint),
		"colons":         strings.Repeat("ab:", 21) + "a",
		"space":          " " + vectorFingerprint[1:],
		"prefix":         "0x" + vectorFingerprint[2:],
		"not hex":        vectorFingerprint[:63] + "g",
		"zero":           strings.Repeat("0", 64),
		"multibyte":      strings.Repeat("é", 32),
		"trailing break": vectorFingerprint[:63] + "\n",
	} {
		if got, err := latchkey.ParseFingerprint(s); err == nil || !got.IsZero() {
			t.Errorf("%s: ParseFingerprint(%q) = %q, %v; want an error", name, s, got, err)
		}
	}
	for _, n := range []int{0, 31, 32, 33} {
		if got, err := latchkey.FingerprintFromBytes(make([]byte, n)); err == nil || !got.IsZero() {
			t.Errorf("FingerprintFromBytes(%d zero bytes) = %q, %v; want an error", n, got, err)
		}
	}
}

func TestZeroFingerprintNamesNobody(t *testing.T) {
	var zero latchkey.Fingerprint
	if zero.String() != "" || zero.Short() != "none" || !zero.IsZero() {
		t.Errorf("zero = %q, Short %q", zero, zero.Short())
	}
	// A struct that leaves it out reads back; a struct that writes it empty does not.
	var doc struct {
		Key latchkey.Fingerprint `json:"key,omitzero"`
	}
	text, err := json.Marshal(doc)
	if err != nil || string(text) != "{}" {
		t.Errorf("Marshal = %s, %v", text, err)
	}
	if err := json.Unmarshal([]byte(`{"key":""}`), &doc); err == nil {
		t.Error("the empty text was accepted as a fingerprint")
	}
}

func TestFingerprintIsAMapKey(t *testing.T) {
	f, _ := latchkey.ParseFingerprint(vectorFingerprint)
	text, err := json.Marshal(map[latchkey.Fingerprint]int{f: 1})
	if want := `{"` + vectorFingerprint + `":1}`; err != nil || string(text) != want {
		t.Fatalf("Marshal = %s, %v; want %s", text, err, want)
	}
	var back map[latchkey.Fingerprint]int
	if err := json.Unmarshal(text, &back); err != nil || back[f] != 1 {
		t.Errorf("Unmarshal = %v, %v", back, err)
	}
}

func FuzzParseFingerprint(f *testing.F) {
	f.Add(vectorFingerprint)
	f.Add("")
	f.Add(strings.Repeat("0", 64))
	f.Fuzz(func(t *testing.T, s string) {
		got, err := latchkey.ParseFingerprint(s)
		if err != nil {
			if !got.IsZero() {
				t.Errorf("ParseFingerprint(%q) = %q beside %v", s, got, err)
			}
			return
		}
		if got.IsZero() || got.String() != s {
			t.Errorf("ParseFingerprint(%q).String() = %q: two spellings of one fingerprint", s, got)
		}
	})
}

func ExampleFingerprintOf() {
	block, _ := pem.Decode([]byte(vectorKey))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		panic(err)
	}
	f, err := latchkey.FingerprintOf(public)
	fmt.Println(f, err)
	// Output: 8d47e7465d8fb5afd9a6771b8a87f5032a8b3d79382d09768613e4bda1aa8d4d <nil>
}

func TestFingerprintBinary(t *testing.T) {
	f, _ := latchkey.ParseFingerprint(vectorFingerprint)
	b, err := f.MarshalBinary()
	var back latchkey.Fingerprint
	if err != nil || len(b) != latchkey.FingerprintSize || back.UnmarshalBinary(b) != nil || back != f {
		t.Errorf("%x, %v became %v", b, err, back)
	}
	for _, bad := range [][]byte{nil, b[:31], append(b, 0), make([]byte, 32)} {
		if back.UnmarshalBinary(bad) == nil {
			t.Errorf("%x is a fingerprint", bad)
		}
	}
	if back != f {
		t.Error("a refused text changed the fingerprint")
	}
	if b, err := (latchkey.Fingerprint{}).MarshalBinary(); err != nil || len(b) != 0 {
		t.Errorf("the zero fingerprint is %x, %v", b, err)
	}
}
