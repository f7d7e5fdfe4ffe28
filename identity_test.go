package latchkey_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	latchkey "github.com/latchkey-dev/latchkey"
)

// remoteSigner is a key that stays elsewhere, as in a TPM: it can only sign.
type remoteSigner struct{ crypto.Signer }

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newIdentity(t testing.TB) *latchkey.Identity {
	t.Helper()
	id, err := latchkey.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestIdentityCertificate(t *testing.T) {
	id := newIdentity(t)
	cert, err := x509.ParseCertificate(id.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := latchkey.FingerprintOf(cert.PublicKey); err != nil || got != id.Fingerprint() {
		t.Errorf("certificate carries %v, %v; want %v", got, err, id.Fingerprint())
	}
	if err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
		t.Errorf("not self-signed: %v", err)
	}
	now := time.Now()
	if now.Before(cert.NotBefore) || now.AddDate(1000, 0, 0).After(cert.NotAfter) {
		t.Errorf("valid from %v to %v only", cert.NotBefore, cert.NotAfter)
	}
	id.Certificate()[0] ^= 1
	if id.TLSCertificate().Certificate[0][0] != cert.Raw[0] {
		t.Error("a change to Certificate changed the identity")
	}
}

func TestIdentityFromSigner(t *testing.T) {
	key := newKey(t, elliptic.P256())
	id, err := latchkey.IdentityFromSigner(remoteSigner{key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := latchkey.IdentityFromSigner(remoteSigner{key}, id.Certificate())
	if err != nil || again.Fingerprint() != id.Fingerprint() || string(again.Certificate()) != string(id.Certificate()) {
		t.Fatalf("the kept certificate was not taken over: %v", err)
	}
	digest := sha256.Sum256([]byte("message"))
	signature, err := id.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(id.Public().(*ecdsa.PublicKey), digest[:], signature) {
		t.Errorf("Sign does not verify: %v", err)
	}
}

func TestIdentityFromSignerRefuses(t *testing.T) {
	key := newKey(t, elliptic.P256())
	other := newIdentity(t).Certificate()
	if _, err := latchkey.IdentityFromSigner(newKey(t, elliptic.P384()), nil); !errors.Is(err, latchkey.ErrKeyType) {
		t.Errorf("P-384: %v, want ErrKeyType", err)
	}
	for name, cert := range map[string][]byte{
		"certificate of another key": other,
		"empty certificate":          {},
		"garbage":                    []byte("garbage"),
		"trailing data":              append(newIdentity(t).Certificate(), 0),
	} {
		if id, err := latchkey.IdentityFromSigner(key, cert); err == nil || id != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestIdentityNeverPrintsItsKey(t *testing.T) {
	key := newKey(t, elliptic.P256())
	id, err := latchkey.IdentityFromSigner(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	decimal := new(big.Int).SetBytes(secret).String()
	type holder struct{ id *latchkey.Identity }
	for _, value := range []any{id, *id, holder{id}, &holder{id}, []any{id}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
			out := fmt.Sprintf(verb, value)
			if strings.Contains(out, decimal) || strings.Contains(out, fmt.Sprintf("%x", secret)) {
				t.Errorf("%T with %s shows the private key", value, verb)
			}
		}
	}
	if got := fmt.Sprint(id); got != id.Fingerprint().String() {
		t.Errorf("prints as %q, want the fingerprint", got)
	}
	if text, err := json.Marshal(id); err != nil || string(text) != `"`+id.Fingerprint().String()+`"` {
		t.Errorf("as JSON = %s, %v; want the fingerprint", text, err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "id", id)
	if !strings.Contains(log.String(), `"id":"`+id.Fingerprint().String()+`"`) {
		t.Errorf("logged as %s", log.String())
	}
}
