package pake

import (
	"bytes"
	"testing"
)

func FuzzParseVerifier(f *testing.F) {
	v := newVerifier(f, "secret")
	text, err := v.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:len(text)-1])
	f.Add([]byte{verifierForm})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := ParseVerifier(text)
		if err != nil {
			return
		}
		if again, err := v.Encode(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%x came back as %x, %v", text, again, err)
		}
	})
}

// Whatever the other side says, nobody who does not know the password convinces
// anybody, and nothing panics.
func FuzzShares(f *testing.F) {
	v := newVerifier(f, "secret")
	p := start(f, "secret", "here", v.Params())
	for _, share := range badShares(f) {
		f.Add(share, make([]byte, ConfirmSize))
	}
	f.Add(unhex(f, vectorShareP), unhex(f, vectorConfirmV))
	f.Add(unhex(f, vectorShareV), []byte{})
	f.Fuzz(func(t *testing.T, share, confirm []byte) {
		if _, err := p.Finish(share, confirm); err == nil {
			t.Errorf("Finish believes %x %x", share, confirm)
		}
		r, err := v.Respond("here", share)
		if err != nil {
			return
		}
		if r.Check(confirm) == nil {
			t.Errorf("Check believes %x after %x", confirm, share)
		}
	})
}

func BenchmarkDerive(b *testing.B) {
	p := NewParams(DefaultCosts(), "me", "acme/gw1")
	for b.Loop() {
		if _, err := Derive("secret", p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRespond(b *testing.B) {
	v := newVerifier(b, "secret")
	share := start(b, "secret", "here", v.Params()).Share()
	for b.Loop() {
		if _, err := v.Respond("here", share); err != nil {
			b.Fatal(err)
		}
	}
}
