package bearer

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// A Client is who shows a token, as its handshake proved.
type Client struct {
	Key         *ecdsa.PublicKey // on P-256
	Certificate [32]byte         // SHA-256 of the certificate that it showed (DER); zero: unknown, and x5t#S256 fits nothing
}

// Thumbprint returns the JWK thumbprint (RFC 7638) of a key on P-256 as cnf.jkt
// carries it: the SHA-256, in unpadded base64url. Other keys are
// latchkey.ErrKeyType.
func Thumbprint(key *ecdsa.PublicKey) (string, error) {
	if _, err := latchkey.FingerprintOf(key); err != nil {
		return "", err
	}
	point, err := key.Bytes() // 4, x, y
	if err != nil {
		return "", fmt.Errorf("%w: %w", latchkey.ErrKeyType, err)
	}
	b64 := base64.RawURLEncoding
	jwk := fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:]))
	sum := sha256.Sum256([]byte(jwk))
	return b64.EncodeToString(sum[:]), nil
}

// checkBinding compares the claim cnf with the client.
func checkBinding(claims claimSet, client Client, required bool) error {
	v, ok := claims["cnf"]
	if !ok {
		if required {
			return fmt.Errorf("%w: it has no cnf", ErrBinding)
		}
		return nil
	}
	members, _ := v.(map[string]any)
	if len(members) == 0 {
		return fmt.Errorf("%w: its cnf is empty or no object", ErrBinding)
	}
	for name, value := range members {
		var want string
		switch name {
		case "jkt":
			thumbprint, err := Thumbprint(client.Key)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrBinding, err)
			}
			want = thumbprint
		case "x5t#S256":
			if client.Certificate != [32]byte{} {
				want = base64.RawURLEncoding.EncodeToString(client.Certificate[:])
			}
		}
		got, _ := value.(string)
		if want == "" || subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
			return fmt.Errorf("%w: its cnf does not fit", ErrBinding)
		}
	}
	return nil
}
