package pake

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"math/bits"

	"filippo.io/nistec"
)

const (
	// ShareSize is the length in bytes of a share, an uncompressed point.
	ShareSize = 65
	// scalarSize is the length in bytes of a number below the curve's order.
	scalarSize = 32
)

type point = nistec.P256Point

// M and N are the points of RFC 9383 section 4, compressed. With the other sign,
// the first byte, they are their negatives.
const (
	seedM = "886e2f97ace46e55ba9dd7242579f2993b64e16ef3dcab95afd497333d8fa12f"
	seedN = "d8bbd6c639c62937b04d997f38c3770719c629d7014d49a24b4f98baa1292b49"
)

var (
	pointM, minusM = mustPoint("02" + seedM), mustPoint("03" + seedM)
	pointN, minusN = mustPoint("03" + seedN), mustPoint("02" + seedN)
)

func mustPoint(text string) *point {
	b, err := hex.DecodeString(text)
	if err == nil {
		var p *point
		if p, err = nistec.NewP256Point().SetBytes(b); err == nil {
			return p
		}
	}
	panic("pake: " + err.Error())
}

// order is the order of the curve's group, the least significant word first.
var order = [4]uint64{0xf3b9cac2fc632551, 0xbce6faada7179e84, 0xffffffffffffffff, 0xffffffff00000000}

// reduce returns the big-endian number wide modulo the order. How long it takes
// depends only on the length of wide.
func reduce(wide []byte) (out [scalarSize]byte) {
	var r [4]uint64
	for _, b := range wide {
		for i := 7; i >= 0; i-- {
			r = shiftIn(r, uint64(b>>i)&1)
		}
	}
	for i, word := range r {
		for j := range 8 {
			out[scalarSize-1-8*i-j] = byte(word >> (8 * j))
		}
	}
	return out
}

// shiftIn returns 2r+bit modulo the order, for an r below it.
func shiftIn(r [4]uint64, bit uint64) [4]uint64 {
	for i, word := range r {
		r[i], bit = word<<1|bit, word>>63
	}
	var less [4]uint64
	var borrow uint64
	for i := range r {
		less[i], borrow = bits.Sub64(r[i], order[i], borrow)
	}
	_, borrow = bits.Sub64(bit, 0, borrow)
	keep := -borrow // all ones if r was below the order already
	for i := range r {
		r[i] = r[i]&keep | less[i]&^keep
	}
	return r
}

// newScalar draws a number below the order. That it favours some is beyond
// measuring: 2^-128.
func newScalar() [scalarSize]byte {
	var b [scalarSize + 16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return reduce(b[:])
}

var (
	errPoint   = errors.New("pake: not a point of the curve")
	errNeutral = errors.New("pake: the exchange has come to the neutral element")
)

// parsePoint reads an uncompressed point. The neutral element has no such form.
func parsePoint(b []byte) (*point, error) {
	if len(b) != ShareSize || b[0] != 4 {
		return nil, errPoint
	}
	p, err := nistec.NewP256Point().SetBytes(b)
	if err != nil {
		return nil, errPoint
	}
	return p, nil
}

// times returns k*p.
func times(k [scalarSize]byte, p *point) *point {
	return must(nistec.NewP256Point().ScalarMult(p, k[:]))
}

// timesBase returns k*P, where P is the generator.
func timesBase(k [scalarSize]byte) *point {
	return must(nistec.NewP256Point().ScalarBaseMult(k[:]))
}

// must holds because scalars have the one length that they can have.
func must(p *point, err error) *point {
	if err != nil {
		panic("pake: " + err.Error())
	}
	return p
}

func add(p, q *point) *point { return nistec.NewP256Point().Add(p, q) }

// encode returns the uncompressed form of points that are not neutral.
func encode(p *point) ([]byte, error) {
	b := p.Bytes()
	if len(b) != ShareSize {
		return nil, errNeutral
	}
	return b, nil
}
