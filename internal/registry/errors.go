package registry

import (
	"errors"
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// Why a registry cannot be opened or changed. Messages name the file and what to
// do next.
var (
	// ErrDamaged reports a file whose content is not what was written. It is
	// refused and left as it is.
	ErrDamaged = errors.New("registry: the registry is damaged")
	// ErrInUse reports a file that another process has open.
	ErrInUse = errors.New("registry: the registry is already in use")
	// ErrNewer reports a file that a later version of Latchkey wrote.
	ErrNewer = errors.New("registry: the registry was written by a newer version")
	// ErrLoose reports a file, or its directory, that others than its owner can
	// reach.
	ErrLoose = errors.New("registry: the registry is not private")
)

// Why Redeem refused. Each matches latchkey.ErrForbidden. They are for events and
// logs: a client is told the same for all of them.
var (
	ErrNoToken  = refusal("no such token for this device")
	ErrOtherKey = refusal("the token is bound to another key")
	ErrExpired  = refusal("the token has expired")
	ErrUsedUp   = refusal("the token was used as often as it may be")
)

func refusal(reason string) error {
	return fmt.Errorf("registry: %s: %w", reason, latchkey.ErrForbidden)
}
