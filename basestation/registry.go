package basestation

import (
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/registry"
)

// A Registry says which key may attach as which device, and which connect tokens
// open the gate. internal/registry has the one on disk. It is asked for every
// decision, and at least once a second about each attached device, so that what
// it takes back ends at once. Its methods are called concurrently.
type Registry interface {
	// ByKey returns the device that the holder of the key may attach as.
	ByKey(key latchkey.Fingerprint) (registry.Device, bool)
	// Saw notes that a device is attached. It need not be kept before Flush.
	Saw(id latchkey.DeviceID, now time.Time)
	// Flush keeps what Saw noted. It is called every minute.
	Flush() error
	// TokensVersion returns the version of the tokens that a device uploaded.
	TokensVersion(id latchkey.DeviceID) uint64
	// ReplaceTokens replaces the tokens of a device. With latchkey.ErrConflict it
	// returns the version that is stored.
	ReplaceTokens(id latchkey.DeviceID, version uint64, tokens []registry.Token) (uint64, error)
	// Redeem returns nil if the token opens the gate to the device, and counts
	// the use.
	Redeem(id latchkey.DeviceID, h latchkey.TokenHash, client latchkey.Fingerprint, now time.Time) error
	// Check is Redeem without counting the use.
	Check(id latchkey.DeviceID, h latchkey.TokenHash, client latchkey.Fingerprint, now time.Time) error
	// Err returns why the last change could not be kept, nil if it could.
	Err() error
}
