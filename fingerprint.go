package latchkey

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
)

// FingerprintSize is the length of a Fingerprint in bytes. There is no shorter
// form: a truncated fingerprint is not a fingerprint.
const FingerprintSize = sha256.Size

// A Fingerprint names a peer: the SHA-256 of the canonical DER encoding of its
// SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7). It is comparable, a good
// map key and safe to log. The zero Fingerprint names nobody, and no parser
// returns it.
type Fingerprint struct{ sum [FingerprintSize]byte }

// ErrKeyType reports a key that is not ECDSA on the curve P-256, the only kind
// that Latchkey peers use.
var ErrKeyType = errors.New("latchkey: key is not ECDSA P-256")

// FingerprintOf returns the fingerprint of a public key. The key is encoded
// anew, so that one key has one fingerprint however its certificate spelled
// it. It returns ErrKeyType for anything but an *ecdsa.PublicKey on P-256.
func FingerprintOf(public any) (Fingerprint, error) {
	key, ok := public.(*ecdsa.PublicKey)
	if !ok || key == nil || key.Curve != elliptic.P256() {
		return Fingerprint{}, ErrKeyType
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return Fingerprint{}, fmt.Errorf("%w: %w", ErrKeyType, err)
	}
	return Fingerprint{sha256.Sum256(spki)}, nil
}

// ParseFingerprint reads the one accepted spelling: 64 lower-case hexadecimal
// digits, as printed by
//
//	openssl pkey -pubout -outform der | sha256sum
//
// Anything shorter, longer, upper-case or all zero is an error.
func ParseFingerprint(s string) (Fingerprint, error) {
	var f Fingerprint
	if len(s) != hex.EncodedLen(FingerprintSize) {
		return f, fmt.Errorf("latchkey: a fingerprint is %d hexadecimal digits, not %d characters",
			hex.EncodedLen(FingerprintSize), len(s))
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return f, errors.New("latchkey: a fingerprint is written in lower-case hexadecimal digits only")
		}
	}
	if _, err := hex.Decode(f.sum[:], []byte(s)); err != nil {
		return Fingerprint{}, err
	}
	if f.IsZero() {
		return f, errors.New("latchkey: the all-zero fingerprint names nobody")
	}
	return f, nil
}

// FingerprintFromBytes makes a Fingerprint from its 32 bytes.
func FingerprintFromBytes(b []byte) (Fingerprint, error) {
	var f Fingerprint
	if len(b) != FingerprintSize {
		return f, fmt.Errorf("latchkey: a fingerprint is %d bytes, not %d", FingerprintSize, len(b))
	}
	copy(f.sum[:], b)
	if f.IsZero() {
		return f, errors.New("latchkey: the all-zero fingerprint names nobody")
	}
	return f, nil
}

// Bytes returns the 32 bytes in a new slice.
func (f Fingerprint) Bytes() []byte { return append([]byte(nil), f.sum[:]...) }

// String returns the canonical spelling, or "" for the zero Fingerprint.
func (f Fingerprint) String() string {
	if f.IsZero() {
		return ""
	}
	return hex.EncodeToString(f.sum[:])
}

// Short returns the first 12 digits, for people and logs, never for decisions.
func (f Fingerprint) Short() string {
	if f.IsZero() {
		return "none"
	}
	return hex.EncodeToString(f.sum[:6])
}

// IsZero reports whether f names nobody.
func (f Fingerprint) IsZero() bool { return f == Fingerprint{} }

// MarshalText implements encoding.TextMarshaler.
func (f Fingerprint) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler with ParseFingerprint's rules.
func (f *Fingerprint) UnmarshalText(b []byte) error {
	parsed, err := ParseFingerprint(string(b))
	if err != nil {
		return err
	}
	*f = parsed
	return nil
}

// MarshalBinary implements encoding.BinaryMarshaler: the 32 bytes, none for the
// zero Fingerprint.
func (f Fingerprint) MarshalBinary() ([]byte, error) {
	if f.IsZero() {
		return nil, nil
	}
	return f.Bytes(), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler with
// FingerprintFromBytes's rules.
func (f *Fingerprint) UnmarshalBinary(b []byte) error {
	parsed, err := FingerprintFromBytes(b)
	if err != nil {
		return err
	}
	*f = parsed
	return nil
}

// LogValue implements slog.LogValuer.
func (f Fingerprint) LogValue() slog.Value { return slog.StringValue(f.String()) }
