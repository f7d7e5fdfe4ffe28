package audit

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

const (
	hashSize = 2 * sha256.Size // as hexadecimal digits
	// domain keeps signatures of checkpoints apart from all others that the
	// device's key makes.
	domain = "latchkey audit checkpoint 1\x00"
)

// origin is the hash before the first record.
var origin = hex.EncodeToString(make([]byte, sha256.Size))

// chain returns the hash of a record, from the hash before it and its line up to
// the field hash.
func chain(before string, body []byte) string {
	h := sha256.New()
	h.Write([]byte(before))
	h.Write(body)
	return hex.EncodeToString(h.Sum(make([]byte, 0, sha256.Size)))
}

// signed returns the digest that a checkpoint's signature is over.
func signed(body []byte) []byte {
	h := sha256.New()
	h.Write([]byte(domain))
	h.Write(body)
	return h.Sum(nil)
}

func sign(id *latchkey.Identity, body []byte) (string, error) {
	sig, err := id.Sign(rand.Reader, signed(body), crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sig), err
}

// line appends the line of r, whose Hash it sets.
func (r *Record) line(b []byte, before string) []byte {
	start := len(b)
	b = r.body(b)
	if r.Sig != "" {
		b = appendText(b, "sig", r.Sig)
	}
	r.Hash = chain(before, b[start:])
	return finish(b, r.Hash)
}

// follows reports whether line, of which r was parsed, has the hash that it
// has to have after the record before.
func (r *Record) follows(before string, line []byte) bool {
	return r.Hash == chain(before, line[:bytes.LastIndex(line, []byte(`,"hash":`))])
}

// vouched reports whether r is a checkpoint that key signed.
func (r *Record) vouched(key *ecdsa.PublicKey) bool {
	if r.Kind != KindCheckpoint || r.Sig == "" || r.Prev == "" {
		return false
	}
	sig, err := base64.RawURLEncoding.DecodeString(r.Sig)
	return err == nil && ecdsa.VerifyASN1(key, signed(r.body(nil)), sig)
}

// An Anchor is the end of the log as it is kept elsewhere.
type Anchor = acl.Anchor

// headOf returns an anchor's hash as records spell it.
func headOf(a acl.Anchor) string { return hex.EncodeToString(a.Head[:]) }

// anchorOf is the anchor of a record and its hash.
func anchorOf(n uint64, hash string) acl.Anchor {
	a := acl.Anchor{Count: n}
	_, _ = hex.Decode(a.Head[:], []byte(hash)) // made by chain, or compared with what is
	return a
}
