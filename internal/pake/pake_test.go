package pake

import (
	"bytes"
	"crypto/rand"
	"errors"
	"math/big"
	"testing"

	"golang.org/x/crypto/argon2"
)

var cheap = Costs{Time: 1, Memory: 8, Threads: 1}

func bigOrder(t testing.TB) *big.Int {
	return new(big.Int).SetBytes(unhex(t, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"))
}

// reduce does what big.Int.Mod does, without its branches.
func TestReduce(t *testing.T) {
	n := bigOrder(t)
	one := big.NewInt(1)
	list := [][]byte{
		nil,
		{0},
		{1},
		n.Bytes(), new(big.Int).Sub(n, one).Bytes(), new(big.Int).Add(n, one).Bytes(),
		new(big.Int).Lsh(n, 64).Bytes(), bytes.Repeat([]byte{0xff}, 32), bytes.Repeat([]byte{0xff}, 40), bytes.Repeat([]byte{0xff}, 48),
	}
	for i := range 2000 {
		b := make([]byte, 30+i%20)
		_, _ = rand.Read(b)
		list = append(list, b)
	}
	for _, b := range list {
		got := reduce(b)
		want := new(big.Int).Mod(new(big.Int).SetBytes(b), n).FillBytes(make([]byte, 32))
		if !bytes.Equal(got[:], want) {
			t.Errorf("reduce(%x) = %x, want %x", b, got, want)
		}
	}
}

func TestNegativesCancel(t *testing.T) {
	for _, pair := range [][2]*point{{pointM, minusM}, {pointN, minusN}} {
		if b := add(pair[0], pair[1]).Bytes(); len(b) != 1 {
			t.Errorf("the sum is %x, not the neutral element", b)
		}
	}
}

// Derive is argon2id over the three parts with their lengths, 40 bytes for each
// number.
func TestDerive(t *testing.T) {
	p := Params{Costs: Costs{Time: 2, Memory: 64, Threads: 2}, Salt: []byte("0123456789abcdef"), Prover: "me", Verifier: "acme/gw1"}
	got, err := Derive("secret", p)
	if err != nil {
		t.Fatal(err)
	}
	in := "\x06\x00\x00\x00\x00\x00\x00\x00secret" + "\x02\x00\x00\x00\x00\x00\x00\x00me" + "\x08\x00\x00\x00\x00\x00\x00\x00acme/gw1"
	w := argon2.IDKey([]byte(in), p.Salt, 2, 64, 2, 80)
	n := bigOrder(t)
	for i, scalar := range [][scalarSize]byte{got.w0, got.w1} {
		want := new(big.Int).Mod(new(big.Int).SetBytes(w[40*i:40*i+40]), n).FillBytes(make([]byte, 32))
		if !bytes.Equal(scalar[:], want) {
			t.Errorf("w%d = %x, want %x", i, scalar, want)
		}
	}
}

func TestCosts(t *testing.T) {
	if err := DefaultCosts().Check(); err != nil {
		t.Error(err)
	}
	for _, c := range []Costs{
		{},
		{Time: 1, Threads: 1},
		{Memory: 64, Threads: 1},
		{Time: 1, Memory: 64},
		{Time: 1, Memory: 7, Threads: 1},
		{Time: 1, Memory: 31, Threads: 4},
		{Time: MaxTime + 1, Memory: 64, Threads: 1},
		{Time: 1, Memory: MaxMemory + 1, Threads: 1},
		{Time: 1, Memory: 64, Threads: MaxThreads + 1},
		{Time: 1 << 31, Memory: 1 << 31, Threads: 255},
	} {
		if _, err := Derive("secret", NewParams(c, "me", "acme/gw1")); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	p := NewParams(cheap, "me", "acme/gw1")
	for name, spoil := range map[string]func(*Params){
		"short salt":    func(p *Params) { p.Salt = p.Salt[:7] },
		"long salt":     func(p *Params) { p.Salt = make([]byte, 256) },
		"long prover":   func(p *Params) { p.Prover = string(make([]byte, 256)) },
		"long verifier": func(p *Params) { p.Verifier = string(make([]byte, 256)) },
	} {
		bad := p
		spoil(&bad)
		if _, err := Derive("secret", bad); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func newVerifier(t testing.TB, password string) *Verifier {
	t.Helper()
	v, err := NewVerifier(password, NewParams(cheap, "me", "acme/gw1"))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func start(t testing.TB, password, context string, p Params) *Prover {
	t.Helper()
	s, err := Derive(password, p)
	if err != nil {
		t.Fatal(err)
	}
	prover, err := s.Start(context)
	if err != nil {
		t.Fatal(err)
	}
	return prover
}

// Both sides agree, and no two exchanges say the same.
func TestAgree(t *testing.T) {
	v := newVerifier(t, "secret")
	seen := map[string]bool{}
	for range 20 {
		p := start(t, "secret", "here", v.Params())
		r, err := v.Respond("here", p.Share())
		if err != nil {
			t.Fatal(err)
		}
		confirm, err := p.Finish(r.Share(), r.Confirm())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Check(confirm); err != nil {
			t.Fatal(err)
		}
		for _, said := range [][]byte{p.Share(), r.Share(), r.Confirm(), confirm} {
			if seen[string(said)] {
				t.Errorf("%x was said twice", said)
			}
			seen[string(said)] = true
		}
	}
}

// Whatever the two sides do not agree on, neither is convinced.
func TestDisagree(t *testing.T) {
	v := newVerifier(t, "secret")
	for name, change := range map[string]func(password, context *string, p *Params){
		"password":    func(password, _ *string, _ *Params) { *password = "Secret" },
		"no password": func(password, _ *string, _ *Params) { *password = "" },
		"context":     func(_, context *string, _ *Params) { *context = "there" },
		"prover":      func(_, _ *string, p *Params) { p.Prover = "m" },
		"verifier":    func(_, _ *string, p *Params) { p.Verifier = "acme/gw2" },
		"salt":        func(_, _ *string, p *Params) { p.Salt = append([]byte{p.Salt[0] ^ 1}, p.Salt[1:]...) },
		"costs":       func(_, _ *string, p *Params) { p.Costs.Time++ },
	} {
		password, context, params := "secret", "here", v.Params()
		change(&password, &context, &params)
		p := start(t, password, context, params)
		r, err := v.Respond("here", p.Share())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Finish(r.Share(), r.Confirm()); !errors.Is(err, ErrMismatch) {
			t.Errorf("another %s: the prover says %v, want ErrMismatch", name, err)
		}
		for _, confirm := range [][]byte{nil, {}, r.Confirm(), r.want[:31], append(bytes.Clone(r.want), 0), make([]byte, 32)} {
			if err := r.Check(confirm); !errors.Is(err, ErrMismatch) {
				t.Errorf("another %s: the verifier takes %x: %v", name, confirm, err)
			}
		}
	}
}

// badShares are no points that an exchange can go on with, whatever it is.
func badShares(t testing.TB) map[string][]byte {
	good := unhex(t, vectorShareP)
	offCurve := bytes.Clone(good)
	offCurve[64] ^= 1
	large := bytes.Clone(good) // x beyond the field
	copy(large[1:33], bytes.Repeat([]byte{0xff}, 32))
	hybrid := bytes.Clone(good)
	hybrid[0] = 6
	return map[string][]byte{
		"nothing": nil, "neutral": {0}, "neutral, long": make([]byte, 65), "0,0": append([]byte{4}, make([]byte, 64)...),
		"off the curve": offCurve, "no field element": large, "hybrid": hybrid, "compressed": append([]byte{2}, good[1:33]...),
		"short": good[:64], "long": append(bytes.Clone(good), 0), "without form": good[1:],
	}
}

func TestBadShares(t *testing.T) {
	v := newVerifier(t, "secret")
	p := start(t, "secret", "here", v.Params())
	for name, share := range badShares(t) {
		if _, err := v.Respond("here", share); err == nil {
			t.Errorf("Respond accepts a share: %s", name)
		}
		if _, err := p.Finish(share, make([]byte, 32)); err == nil || errors.Is(err, ErrMismatch) {
			t.Errorf("Finish looks at the confirmation beside a share: %s: %v", name, err)
		}
	}
}

// Shares that are only a mask come to the neutral element, and so does what
// follows: refused, although their sender knows w0.
func TestOnlyMask(t *testing.T) {
	v := newVerifier(t, "secret")
	if _, err := v.Respond("here", times(v.w0, pointM).Bytes()); !errors.Is(err, errNeutral) {
		t.Errorf("Respond = %v, want errNeutral", err)
	}
	p := start(t, "secret", "here", v.Params())
	if _, err := p.Finish(times(v.w0, pointN).Bytes(), make([]byte, 32)); !errors.Is(err, errNeutral) {
		t.Errorf("Finish = %v, want errNeutral", err)
	}
}

func TestReflected(t *testing.T) {
	v := newVerifier(t, "secret")
	p := start(t, "secret", "here", v.Params())
	r, err := v.Respond("here", p.Share())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(p.Share(), r.Confirm()); !errors.Is(err, ErrReflected) {
		t.Errorf("Finish of our own share = %v, want ErrReflected", err)
	}
}

// Who holds a verifier can pass for the device, but not for a client.
func TestVerifierIsNoPassword(t *testing.T) {
	v := newVerifier(t, "secret")
	for _, w1 := range [][scalarSize]byte{{}, v.w0, {31: 1}} {
		thief := &Secret{v.params, v.w0, w1}
		p, err := thief.Start("here")
		if err != nil {
			t.Fatal(err)
		}
		r, err := v.Respond("here", p.Share())
		if err != nil {
			t.Fatal(err)
		}
		if confirm, err := p.Finish(r.Share(), r.Confirm()); err == nil {
			t.Errorf("w1 = %x: the thief came to %x", w1, confirm)
		}
	}
}

func TestVerifierEncoding(t *testing.T) {
	v := newVerifier(t, "secret")
	text, err := v.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseVerifier(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := back.Encode(); err != nil || !bytes.Equal(again, text) {
		t.Errorf("%x came back as %x, %v", text, again, err)
	}
	p := start(t, "secret", "here", back.Params())
	r, err := back.Respond("here", p.Share())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(r.Share(), r.Confirm()); err != nil {
		t.Errorf("what came back answers otherwise: %v", err)
	}
	if bytes.Contains(text, []byte("secret")) {
		t.Error("the password is in it")
	}
	for n := range text {
		if _, err := ParseVerifier(text[:n]); err == nil {
			t.Errorf("the first %d bytes were accepted", n)
		}
	}
	if _, err := ParseVerifier(append(bytes.Clone(text), 0)); err == nil {
		t.Error("one more byte was accepted")
	}
	tooLarge := bytes.Clone(text)
	copy(tooLarge[len(text)-ShareSize-scalarSize:], bigOrder(t).Bytes())
	if _, err := ParseVerifier(tooLarge); err == nil {
		t.Error("a w0 that is not reduced was accepted")
	}
}
