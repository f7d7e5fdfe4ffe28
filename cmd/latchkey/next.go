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
	{client.ErrUnusable, "correct that and repeat the command"},
	{client.ErrPairingUnknown, "repeat the command: a pairing that holds is a success"},
	{latchkey.ErrKeyFileMode, "make the file private; if others may have read it, take a new key"},
	{latchkey.ErrHandshakeRefused, "pair on the device's own network if a local mode is open there, or give its owner the output of \"latchkey fingerprint\", to add with latchkeyd user add NAME --key FINGERPRINT"},
	{latchkey.ErrUnpaired, "latchkey pair URL, with the URL that the device's owner shows"},
	{latchkey.ErrPairingClosed, "on the device: latchkeyd pairing open MODE, or latchkeyd user add NAME --key FINGERPRINT"},
	{latchkey.ErrNotLocal, "join the device's own network and repeat the command, or ask its owner to add the key of \"latchkey fingerprint\""},
	{latchkey.ErrUnknownDevice, "latchkey devices"},
	{latchkey.ErrRevoked, "ask the device's owner"},
	{latchkey.ErrDisconnected, "ask the device's owner before you repeat that; on the device, latchkeyd explain says why"},
	{latchkey.ErrAbuse, "find out what keeps asking for what is not allowed, and ask the device's owner"},
	{latchkey.ErrTokenExpired, "bring a fresh token with --login-token FILE"},
	{latchkey.ErrWrongPassword, "look the password up and repeat the command"},
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

// stepsAtBasestation are those for a client.BasestationError, in which the
// device has had no say.
var stepsAtBasestation = []struct {
	err  error
	step string
}{
	{client.ErrNoBasestation, "join the device's own network; a device with a basestation tells it to who comes there"},
	{client.ErrNoToken, "connect once on the device's own network, ask its owner for a new pairing URL, or bring a token with --token FILE"},
	{latchkey.ErrForbidden, "the token may have expired or been revoked: connect once on the device's own network, or ask its owner for a new pairing URL"},
	{latchkey.ErrOffline, "repeat the command with --wait, to wait until the device attaches"},
	{latchkey.ErrTooMany, "wait a little and repeat the command"},
	{latchkey.ErrShutdown, "wait a little and repeat the command"},
}

// nextOf looks the step up.
func (p *program) nextOf(err error) string {
	refusedBy := func(err error) bool { return errors.Is(err, latchkey.ErrHandshakeRefused) }
	// The word of the device itself counts for more than its basestation's.
	if base := (*client.BasestationError)(nil); errors.As(err, &base) && refusedBy(err) == refusedBy(base) {
		if base.OtherKey {
			return "connect once on the device's own network, or ask its owner for a new pairing URL"
		}
		for _, s := range stepsAtBasestation {
			if errors.Is(base, s.err) {
				return s.step
			}
		}
		return "latchkey netcheck ALIAS"
	}
	for _, s := range steps {
		if errors.Is(err, s.err) {
			return s.step
		}
	}
	return ""
}

// otherKey finds the key of a device that is not the one known here, if nothing
// else answered. What a basestation says besides does not count: it only keeps the
// gate, and often to the device that was here before.
func otherKey(err error) (changed *latchkey.IdentityError) {
	var dial *client.DialError
	if errors.As(err, &changed) || !errors.As(err, &dial) {
		return changed
	}
	for _, t := range dial.Tries {
		here, base := (*latchkey.IdentityError)(nil), (*client.BasestationError)(nil)
		switch {
		case errors.As(t.Err, &here):
			changed = here
		case !errors.As(t.Err, &base):
			return nil
		}
	}
	return changed
}

// next is the step after an error that names none itself.
func (p *program) next(err error) string {
	if meanwhile(err) {
		return "repeat the command"
	}
	if changed := otherKey(err); changed != nil && len(changed.Want) > 0 {
		return "latchkey trust " + changed.Device + " " + changed.Got.String() + ", but only if the device was replaced on purpose"
	}
	if step := p.nextOf(err); step != "" {
		if p.alias == "" {
			return step
		}
		return strings.ReplaceAll(step, "ALIAS", p.alias)
	}
	var dial *client.DialError
	switch {
	case errors.As(err, &dial) && p.way.via == "direct":
		return "latchkey netcheck " + p.alias + ", or --via auto, which takes the relay where nothing else works"
	case errors.As(err, &dial) && p.way.via == "relay":
		return "latchkey netcheck " + p.alias
	case errors.As(err, &dial):
		return "check that the device is on and its address right: latchkey discover"
	}
	return ""
}
