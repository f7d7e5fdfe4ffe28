package bearer

import (
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// Why Validate refused. Each matches latchkey.ErrForbidden. They are for events
// and logs: a client is told the same for all of them but ErrExpired.
var (
	ErrMalformed = refusal("malformed token")
	ErrIssuer    = refusal("token of an unknown issuer")
	ErrAlgorithm = refusal("token with an algorithm that its issuer does not use")
	ErrNoKey     = refusal("token with an unknown key")
	ErrNoKeys    = refusal("the issuer's keys cannot be fetched")
	ErrSignature = refusal("token with a wrong signature")
	ErrTime      = refusal("token that is expired or not yet valid")
	ErrAudience  = refusal("token for another audience")
	ErrBinding   = refusal("token that is not bound to this client")
	ErrDevices   = refusal("token without devices")
	ErrClaims    = refusal("token with more claims than are kept")

	// ErrExpired is for a token that would have logged in, a while ago. It
	// matches ErrTime and latchkey.ErrTokenExpired too, which a client is told.
	ErrExpired = fmt.Errorf("%w: %w", latchkey.ErrTokenExpired, ErrTime)
)

func refusal(reason string) error { return fmt.Errorf("bearer: %s: %w", reason, latchkey.ErrForbidden) }
