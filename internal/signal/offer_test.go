package signal_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

func TestOfferSigner(t *testing.T) {
	id := identity(t)
	o := signal.Offer{Session: session, Device: device, Role: signal.RoleDevice, Ufrag: "abcd", Pwd: strings.Repeat("p", 22)}
	if err := o.Sign(id); err != nil {
		t.Fatal(err)
	}
	got, err := o.Verify(signal.RoleDevice, session, device)
	if err != nil || got != id.Fingerprint() {
		t.Errorf("signed by %v, %v", got, err)
	}
	o.Candidates = []string{"candidate:2"}
	if _, err := o.Verify(signal.RoleDevice, session, device); err != nil {
		t.Errorf("candidates are hints, but: %v", err)
	}
}

// TestOfferTampering changes every field but the candidates.
func TestOfferTampering(t *testing.T) {
	other := offer(t, signal.RoleClient)
	for name, tamper := range map[string]func(*signal.Offer){
		"session":           func(o *signal.Offer) { o.Session[15]++ },
		"device":            func(o *signal.Offer) { o.Device.Device = "gw2" },
		"product":           func(o *signal.Offer) { o.Device.Product = "acm" },
		"role":              func(o *signal.Offer) { o.Role = signal.RoleDevice },
		"resume added":      func(o *signal.Offer) { o.Resume = make([]byte, 16) },
		"key":               func(o *signal.Offer) { o.Key = other.Key },
		"key and signature": func(o *signal.Offer) { o.Key, o.Signature = other.Key, slices.Clone(o.Signature) },
		"certificate":       func(o *signal.Offer) { o.Certificate[0]++ },
		"ufrag":             func(o *signal.Offer) { o.Ufrag = "abce" },
		"pwd":               func(o *signal.Offer) { o.Pwd += "q" },
		"moved":             func(o *signal.Offer) { o.Ufrag, o.Pwd = o.Ufrag+"p", o.Pwd[1:]+"p" },
		"signature":         func(o *signal.Offer) { o.Signature = other.Signature },
		"signature bit":     func(o *signal.Offer) { o.Signature = flip(o.Signature) },
		"no signature":      func(o *signal.Offer) { o.Signature = nil },
		"bad ice text":      func(o *signal.Offer) { o.Ufrag = "ab:d" },
	} {
		o := offer(t, signal.RoleClient)
		tamper(&o)
		// The values of the offer itself are asked for, so that the signature has to notice.
		if f, err := o.Verify(o.Role, o.Session, o.Device); !errors.Is(err, latchkey.ErrProtocol) || !f.IsZero() {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
}

func flip(b []byte) []byte {
	c := bytes.Clone(b)
	c[len(c)-1] ^= 1
	return c
}

func TestOfferForSomethingElse(t *testing.T) {
	o := offer(t, signal.RoleClient)
	elsewhere := latchkey.DeviceID{Product: "acme", Device: "gw2"}
	for name, verify := range map[string]func() (latchkey.Fingerprint, error){
		"role":    func() (latchkey.Fingerprint, error) { return o.Verify(signal.RoleDevice, session, device) },
		"session": func() (latchkey.Fingerprint, error) { return o.Verify(o.Role, signal.SessionID{9}, device) },
		"device":  func() (latchkey.Fingerprint, error) { return o.Verify(o.Role, session, elsewhere) },
	} {
		if _, err := verify(); err == nil {
			t.Errorf("another %s is accepted", name)
		}
	}
}

func TestOfferKeys(t *testing.T) {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	compressed, _ := x509.MarshalPKIXPublicKey(&p256.PublicKey)
	compressed[26] = 0x06 // the hybrid form of a point, as long as the uncompressed one
	x25519, _ := ecdh.X25519().GenerateKey(rand.Reader)
	short, _ := x509.MarshalPKIXPublicKey(x25519.PublicKey())
	for name, key := range map[string][]byte{
		"hybrid point": compressed,
		"x25519":       short,
		"padded":       append(short, make([]byte, 91-len(short))...),
		"zero":         make([]byte, 91),
	} {
		o := offer(t, signal.RoleClient)
		o.Key = key
		if _, err := o.Verify(o.Role, session, device); !errors.Is(err, latchkey.ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzOfferVerify(f *testing.F) {
	o := offer(f, signal.RoleClient)
	f.Add(o.Key, o.Signature, o.Ufrag, o.Pwd, o.Resume)
	f.Fuzz(func(t *testing.T, key, signature []byte, ufrag, pwd string, resume []byte) {
		c := o
		c.Key, c.Signature, c.Ufrag, c.Pwd, c.Resume = key, signature, ufrag, pwd, resume
		_, err := c.Verify(signal.RoleClient, session, device)
		same := bytes.Equal(key, o.Key) && ufrag == o.Ufrag && pwd == o.Pwd && len(resume) == 0
		if err == nil && !same {
			t.Fatal("a changed offer is accepted")
		}
	})
}
