package secure

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// PeerKey returns the key that a TLS peer proved, by the rules that hold for DTLS:
// exactly one certificate, with an ECDSA key on P-256. The handshake must be
// over.
func PeerKey(state tls.ConnectionState) (latchkey.Fingerprint, error) {
	if !state.HandshakeComplete {
		return latchkey.Fingerprint{}, errors.New("the handshake is not over")
	}
	certificates := make([][]byte, len(state.PeerCertificates))
	for i, c := range state.PeerCertificates {
		certificates[i] = c.Raw
	}
	key, _, err := peerKey(certificates)
	return key, err
}

// peerKey applies the key policy to what a peer sent in its Certificate
// message: exactly one certificate, with an ECDSA key on P-256. The rest of
// the certificate is packaging and is not looked at.
func peerKey(certificates [][]byte) (latchkey.Fingerprint, *ecdsa.PublicKey, error) {
	if len(certificates) != 1 {
		return latchkey.Fingerprint{}, nil, fmt.Errorf("peer sent %d certificates, not one", len(certificates))
	}
	certificate, err := x509.ParseCertificate(certificates[0])
	if err != nil {
		return latchkey.Fingerprint{}, nil, errors.New("peer's certificate cannot be read")
	}
	key, err := latchkey.FingerprintOf(certificate.PublicKey)
	public, _ := certificate.PublicKey.(*ecdsa.PublicKey) // FingerprintOf knows no other type
	return key, public, err
}
