package main

import (
	"errors"
	"strings"
	"syscall"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/client"
)

// steps says what a person does about an error. The first that matches holds,
// so special ones stand before general ones. ALIAS becomes that of the command.
var steps = []struct {
	err  error
	step string
}{
	{client.ErrPairingUnknown, "repeat the command: a pairing that holds is a success"},
	{latchkey.ErrKeyFileMode, "make the file private; if others may have read it, take a new key"},
	{latchkey.ErrHandshakeRefused, "give the device's owner the output of \"latchkey fingerprint\", to add with latchkeyd user add NAME --key FINGERPRINT, and repeat the command"},
	{latchkey.ErrUnpaired, "latchkey pair URL, with the URL that the device's owner shows"},
	{latchkey.ErrPairingClosed, "on the device: latchkeyd pairing open MODE, or latchkeyd user add NAME --key FINGERPRINT"},
	{latchkey.ErrNotLocal, "join the device's own network and repeat the command, or ask its owner to add the key of \"latchkey fingerprint\""},
	{latchkey.ErrUnknownDevice, "latchkey devices"},
	{latchkey.ErrRevoked, "ask the device's owner"},
	{latchkey.ErrForbidden, "ask the device's owner; on the device, latchkeyd explain says why"},
	{latchkey.ErrConflict, "latchkey devices, and choose another name with --as"},
	{latchkey.ErrTargetRefused, "start what should listen behind the service on the device"},
	{latchkey.ErrTargetUnreachable, "check the target of the service in the device's configuration"},
	{latchkey.ErrTargetTimeout, "check the target of the service in the device's configuration"},
	{latchkey.ErrNotFound, "latchkey services ALIAS"},
	{latchkey.ErrTooMany, "wait, or close what is open"},
	{syscall.EADDRINUSE, "choose another local port, SERVICE:PORT, or none for any free one: SERVICE"},
	{syscall.EACCES, "choose a local port above 1023, SERVICE:PORT"},
}

// next is the step after an error that names none itself.
func (p *program) next(err error) string {
	var changed *latchkey.IdentityError
	if errors.As(err, &changed) && len(changed.Want) > 0 {
		return "latchkey trust " + changed.Device + " " + changed.Got.String() + ", but only if the device was replaced on purpose"
	}
	for _, s := range steps {
		if errors.Is(err, s.err) {
			if p.alias == "" {
				return s.step
			}
			return strings.ReplaceAll(s.step, "ALIAS", p.alias)
		}
	}
	var dial *client.DialError
	if errors.As(err, &dial) {
		return "check that the device is on and its address right: latchkey discover"
	}
	return ""
}
