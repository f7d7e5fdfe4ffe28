package bearer

import (
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// Why Validate refused. Each matches latchkey.ErrForbidden. They are for events
// and logs: a client is told the same for all of them.
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
)

func refusal(reason string) error { return fmt.Errorf("bearer: %s: %w", reason, latchkey.ErrForbidden) }
