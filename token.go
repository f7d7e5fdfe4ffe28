package latchkey

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"log/slog"
	"unique"
)

const redacted = "REDACTED"

// tokenSize is the entropy of a ConnectToken: 128 bits.
const tokenSize = 16

// A ConnectToken (SCT, server connect token) lets its bearer be introduced to
// one device by a basestation. It proves nothing to the device itself. It
// prints as REDACTED everywhere; Reveal is the only way out. Verifiers keep
// its Hash. The zero ConnectToken is absent, and no parser returns it.
type ConnectToken struct{ text hidden }

// NewConnectToken draws 128 random bits.
func NewConnectToken() ConnectToken {
	var b [tokenSize]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return ConnectToken{hide(base64.RawURLEncoding.EncodeToString(b[:]))}
}

// ParseConnectToken reads what Reveal wrote: 22 characters of unpadded
// base64url. Its errors never echo the input.
func ParseConnectToken(s string) (ConnectToken, error) {
	// The length is checked too, because the decoder skips line breaks.
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != tokenSize || len(s) != base64.RawURLEncoding.EncodedLen(tokenSize) {
		return ConnectToken{}, errors.New("latchkey: not a connect token")
	}
	return ConnectToken{hide(s)}, nil
}

// IsZero reports whether the token is absent.
func (t ConnectToken) IsZero() bool { return t == (ConnectToken{}) }

// Reveal returns the token itself, for the wire, a file or a QR code.
func (t ConnectToken) Reveal() string { return t.text.reveal() }

// Hash returns what a verifier stores.
func (t ConnectToken) Hash() TokenHash { return TokenHash{sha256.Sum256([]byte(t.Reveal()))} }

// String returns REDACTED, or "" when the token is absent.
func (t ConnectToken) String() string { return t.text.redact() }

// GoString implements fmt.GoStringer.
func (t ConnectToken) GoString() string { return t.text.redact() }

// MarshalText redacts, so that a token reaches no JSON document by accident.
func (t ConnectToken) MarshalText() ([]byte, error) { return []byte(t.text.redact()), nil }

// LogValue implements slog.LogValuer.
func (t ConnectToken) LogValue() slog.Value { return slog.StringValue(t.text.redact()) }

// A TokenHash is the SHA-256 of a ConnectToken's text.
type TokenHash struct{ sum [sha256.Size]byte }

// Equal compares in constant time.
func (h TokenHash) Equal(o TokenHash) bool {
	return subtle.ConstantTimeCompare(h.sum[:], o.sum[:]) == 1
}

// TokenHashFromBytes makes a TokenHash from its 32 bytes.
func TokenHashFromBytes(b [sha256.Size]byte) TokenHash { return TokenHash{b} }

// Sum returns the 32 bytes, for the wire or a file.
func (h TokenHash) Sum() [sha256.Size]byte { return h.sum }

// A Secret is a password that a person types or scans. It prints as REDACTED;
// Reveal is the only way out.
type Secret struct{ text hidden }

// NewSecret wraps s.
func NewSecret(s string) Secret { return Secret{hide(s)} }

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s == (Secret{}) }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return s.text.reveal() }

// String returns REDACTED, or "" when there is none.
func (s Secret) String() string { return s.text.redact() }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return s.text.redact() }

// MarshalText redacts.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.text.redact()), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.text.redact()) }

// hidden holds a text behind a pointer. fmt calls no methods on unexported
// fields and for wrong verbs, but prints what lies there; here that is an
// address. Equal texts make equal handles, so that secrets stay comparable.
type hidden struct{ handle unique.Handle[string] }

func hide(s string) hidden {
	if s == "" {
		return hidden{}
	}
	return hidden{unique.Make(s)}
}

func (h hidden) reveal() string {
	if h == (hidden{}) {
		return ""
	}
	return h.handle.Value()
}

func (h hidden) redact() string {
	if h == (hidden{}) {
		return ""
	}
	return redacted
}
