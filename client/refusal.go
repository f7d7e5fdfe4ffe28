package client

import (
	"errors"
	"fmt"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/route"
)

var (
	// ErrNoBasestation reports a device that is reached on its own network
	// only, as far as we know.
	ErrNoBasestation = errors.New("client: the device has no basestation")
	// ErrNoToken reports that we have nothing to show at a basestation's gate.
	ErrNoToken = errors.New("client: there is no connect token for this device")
)

// A BasestationError says why a basestation did not introduce us to a device,
// which has said nothing itself. What lies below tells why: latchkey.ErrForbidden
// for a token that does not hold, latchkey.ErrOffline for a device that is not
// attached, ErrNoToken, ErrNoBasestation, or a failure to reach it.
type BasestationError struct {
	Err error
	// OtherKey: it answered with another key than the device told us. Then Err
	// is not unwrapped, since the device's own key is not in question.
	OtherKey bool
}

// atBasestation wraps what went wrong with a basestation.
func atBasestation(err error) error {
	return &BasestationError{Err: err, OtherKey: errors.Is(err, latchkey.ErrIdentityChanged)}
}

// Error begins with the basestation.
func (e *BasestationError) Error() string { return "basestation: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *BasestationError) Unwrap() error {
	if e.OtherKey {
		return nil
	}
	return e.Err
}

// A pathError says for each kind of path why there is none, when both sides
// have been introduced.
type pathError struct {
	via     Via
	granted bool  // the basestation lends its relay
	relay   error // last trouble with that
	cause   error
}

// Error keeps direct and relay apart.
func (e *pathError) Error() string {
	direct, relay := "direct: no address of the device can be reached from here", "relay: "
	switch {
	case !e.granted:
		relay += "the basestation granted none"
	case e.relay != nil:
		relay += e.relay.Error()
	default:
		relay += "the device does not answer through it"
	}
	switch route.Kind(e.via) {
	case route.Direct:
		return direct
	case route.Relay:
		return relay
	}
	return fmt.Sprintf("%s; %s", direct, relay)
}

// Unwrap returns what ended the search.
func (e *pathError) Unwrap() error { return e.cause }
