package latchkey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"time"
)

// An Identity is a private key and the self-signed certificate that carries
// its public half. The certificate is packaging: peers compare Fingerprints,
// never names or dates. An Identity never exports its private key.
type Identity struct {
	signer      crypto.Signer
	certificate []byte
	fingerprint Fingerprint
}

// NewIdentity makes a fresh P-256 key that lives in memory only.
func NewIdentity() (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return IdentityFromSigner(key, nil)
}

// IdentityFromSigner wraps a key that stays where it is, in a TPM or a secure
// element. The certificate is the DER that an earlier call made for the same
// key; nil makes one. Keep it (Identity.Certificate) beside the key, because
// WebRTC stacks pin the certificate's hash. It returns ErrKeyType for anything
// but P-256, and an error when certificate and key do not belong together.
func IdentityFromSigner(signer crypto.Signer, certificate []byte) (*Identity, error) {
	fingerprint, err := FingerprintOf(signer.Public())
	if err != nil {
		return nil, err
	}
	if certificate == nil {
		if certificate, err = selfSign(signer, fingerprint); err != nil {
			return nil, fmt.Errorf("self-sign a certificate: %w", err)
		}
	}
	parsed, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	if got, err := FingerprintOf(parsed.PublicKey); err != nil || got != fingerprint {
		return nil, errors.New("latchkey: the certificate is for another key")
	}
	return &Identity{signer: signer, certificate: certificate, fingerprint: fingerprint}, nil
}

// selfSign wraps the key in a certificate whose dates never matter here and
// are wide, because some foreign stacks look at them.
func selfSign(signer crypto.Signer, f Fingerprint) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "latchkey " + f.Short()},
		NotBefore:    time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC), // RFC 5280 section 4.1.2.5
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	return x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
}

// Fingerprint returns the name of this identity.
func (id *Identity) Fingerprint() Fingerprint { return id.fingerprint }

// Certificate returns the DER of the self-signed certificate.
func (id *Identity) Certificate() []byte { return append([]byte(nil), id.certificate...) }

// TLSCertificate returns certificate and signer in the form that crypto/tls
// and DTLS libraries take.
func (id *Identity) TLSCertificate() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{id.Certificate()}, PrivateKey: id.signer}
}

// Public implements crypto.Signer.
func (id *Identity) Public() crypto.PublicKey { return id.signer.Public() }

// Sign implements crypto.Signer.
func (id *Identity) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return id.signer.Sign(random, digest, opts)
}

// String returns the fingerprint; never key material.
func (id *Identity) String() string { return id.fingerprint.String() }

// MarshalText returns the fingerprint; never key material.
func (id *Identity) MarshalText() ([]byte, error) { return id.fingerprint.MarshalText() }

// LogValue implements slog.LogValuer.
func (id *Identity) LogValue() slog.Value { return id.fingerprint.LogValue() }
