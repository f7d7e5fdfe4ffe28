package client

import (
	"context"
	"fmt"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/route"
)

// A Via says which ways to a device may be taken.
type Via string

// The ways. ViaAuto, the zero Via, takes whichever answers first and moves to
// the best.
const (
	ViaAuto   Via = ""
	ViaLocal  Via = "local"  // on the device's own network
	ViaDirect Via = "direct" // from address to address, found by way of the basestation
	ViaRelay  Via = "relay"  // through the basestation

	viaBasestation Via = "basestation" // direct or relay, for pairing
)

// ParseVia reads auto, local, direct or relay.
func ParseVia(s string) (Via, error) {
	switch v := Via(s); v {
	case "auto":
		return ViaAuto, nil
	case ViaAuto, ViaLocal, ViaDirect, ViaRelay:
		return v, nil
	}
	return "", fmt.Errorf("client: %q is no way to a device: auto, local, direct or relay", s)
}

// only is the one kind of path that is used; "" for any.
func (v Via) only() route.Kind {
	switch v {
	case ViaDirect:
		return route.Direct
	case ViaRelay:
		return route.Relay
	}
	return ""
}

// DialOptions are the choices of Client.DialWith.
type DialOptions struct {
	Via  Via
	Wait bool // until the device attaches to its basestation, as long as ctx lasts

	// Token or JWT opens the basestation's gate in place of the connect token
	// that the device gave us.
	Token latchkey.ConnectToken
	JWT   string

	// Login returns a JWT for the device itself, which lets in who is no user
	// there. It is called in each new session before that is used, and again
	// when three quarters of the token's life are over; nil brings none. An
	// error of the first call fails the dial.
	Login func(context.Context) (string, error)
}
