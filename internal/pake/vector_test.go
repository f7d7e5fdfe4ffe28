package pake

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// The vector of RFC 9383 appendix C for this suite; the appendix has one.
const (
	vectorContext = "SPAKE2+-P256-SHA256-HKDF-SHA256-HMAC-SHA256 Test Vectors"
	vectorW0      = "bb8e1bbcf3c48f62c08db243652ae55d3e5586053fca77102994f23ad95491b3"
	vectorW1      = "7e945f34d78785b8a3ef44d0df5a1a97d6b3b460409a345ca7830387a74b1dba"
	vectorL       = "04eb7c9db3d9a9eb1f8adab81b5794c1f13ae3e225efbe91ea487425854c7fc00f" +
		"00bfedcbd09b2400142d40a14f2064ef31dfaa903b91d1faea7093d835966efd"
	vectorX      = "d1232c8e8693d02368976c174e2088851b8365d0d79a9eee709c6a05a2fad539"
	vectorShareP = "04ef3bd051bf78a2234ec0df197f7828060fe9856503579bb1733009042c15c0c1" +
		"de127727f418b5966afadfdd95a6e4591d171056b333dab97a79c7193e341727"
	vectorY      = "717a72348a182085109c8d3917d6c43d59b224dc6a7fc4f0483232fa6516d8b3"
	vectorShareV = "04c0f65da0d11927bdf5d560c69e1d7d939a05b0e88291887d679fcadea75810fb" +
		"5cc1ca7494db39e82ff2f50665255d76173e09986ab46742c798a9a68437b048"
	vectorZ = "04bbfce7dd7f277819c8da21544afb7964705569bdf12fb92aa388059408d50091" +
		"a0c5f1d3127f56813b5337f9e4e67e2ca633117a4fbd559946ab474356c41839"
	vectorV = "0458bf27c6bca011c9ce1930e8984a797a3419797b936629a5a937cf2f11c8b951" +
		"4b82b993da8a46e664f23db7c01edc87faa530db01c2ee405230b18997f16b68"
	vectorMain     = "4c59e1ccf2cfb961aa31bd9434478a1089b56cd11542f53d3576fb6c2a438a29"
	vectorKeyP     = "871ae3f7b78445e34438fb284504240239031c39d80ac23eb5ab9be5ad6db58a"
	vectorKeyV     = "ccd53c7c1fa37b64a462b40db8be101cedcf838950162902054e644b400f1680"
	vectorConfirmP = "926cc713504b9b4d76c9162ded04b5493e89109f6d89462cd33adc46fda27527"
	vectorConfirmV = "9747bcc4f8fe9f63defee53ac9b07876d907d55047e6ff2def2e7529089d3e68"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func same(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if !bytes.Equal(got, unhex(t, want)) {
		t.Errorf("%s = %x, want %s", what, got, want)
	}
}

func vectorSecret(t testing.TB) *Secret {
	return &Secret{
		params: Params{Costs: DefaultCosts(), Salt: make([]byte, 8), Prover: "client", Verifier: "server"},
		w0:     [scalarSize]byte(unhex(t, vectorW0)), w1: [scalarSize]byte(unhex(t, vectorW1)),
	}
}

func TestPublishedVector(t *testing.T) {
	secret := vectorSecret(t)
	v := secret.verifier()
	same(t, "L", v.l.Bytes(), vectorL)
	p, err := secret.start(vectorContext, [scalarSize]byte(unhex(t, vectorX)))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "shareP", p.Share(), vectorShareP)
	r, err := v.respond(vectorContext, p.Share(), [scalarSize]byte(unhex(t, vectorY)))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "shareV", r.Share(), vectorShareV)
	same(t, "confirmV", r.Confirm(), vectorConfirmV)
	confirm, err := p.Finish(r.Share(), r.Confirm())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "confirmP", confirm, vectorConfirmP)
	if err := r.Check(confirm); err != nil {
		t.Error(err)
	}
}

// Both sides come to the published Z and V, and from them to the keys.
func TestPublishedKeys(t *testing.T) {
	secret := vectorSecret(t)
	x, y := [scalarSize]byte(unhex(t, vectorX)), [scalarSize]byte(unhex(t, vectorY))
	shareP, shareV := unhex(t, vectorShareP), unhex(t, vectorShareV)
	pX, err := parsePoint(shareP)
	if err != nil {
		t.Fatal(err)
	}
	pY, err := parsePoint(shareV)
	if err != nil {
		t.Fatal(err)
	}
	q := add(pY, times(secret.w0, minusN))
	z, v := times(x, q), times(secret.w1, q)
	same(t, "the prover's Z", z.Bytes(), vectorZ)
	same(t, "the prover's V", v.Bytes(), vectorV)
	same(t, "the verifier's Z", times(y, add(pX, times(secret.w0, minusM))).Bytes(), vectorZ)
	same(t, "the verifier's V", times(y, secret.verifier().l).Bytes(), vectorV)
	k, err := secret.transcript(vectorContext, shareP, shareV).finish(z, v, secret.w0)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "K_main", k.main, vectorMain)
	same(t, "K_confirmP", k.prover, vectorKeyP)
	same(t, "K_confirmV", k.verifier, vectorKeyV)
}
