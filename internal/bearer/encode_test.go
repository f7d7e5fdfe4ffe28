package bearer

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
)

func x509PKIX(key *ecdsa.PublicKey) ([]byte, error) { return x509.MarshalPKIXPublicKey(key) }

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}
