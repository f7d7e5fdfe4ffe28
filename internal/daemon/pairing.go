package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/pairing"
)

// A PairingStatus says how a stranger could pair.
type PairingStatus struct {
	Running    bool     `json:"running"`    // a daemon serves
	Open       []string `json:"open"`       // now or, when no daemon runs, as soon as one does
	Configured []string `json:"configured"` // by latchkeyd.yaml
}

type pairingMode struct {
	Mode pairing.Modes `json:"mode"`
	For  string        `json:"for,omitempty"` // "": until closed or used up
}

type pairingURL struct {
	URL string `json:"url"`
}

// PairingURL returns what a client needs to pair, with the secrets that are
// part of it.
func (c *Control) PairingURL(ctx context.Context) (string, error) {
	out, err := admin.Call[pairingURL](ctx, c.backend, opPairingURL, admin.None{})
	return out.URL, err
}

// PairingStatus tells which modes are open.
func (c *Control) PairingStatus(ctx context.Context) (PairingStatus, error) {
	return admin.Call[PairingStatus](ctx, c.backend, opPairingStatus, admin.None{})
}

// OpenPairing opens a mode of the running daemon, until it is closed or used up
// or, with a length above zero, for that long at most.
func (c *Control) OpenPairing(ctx context.Context, m pairing.Modes, length time.Duration) (PairingStatus, error) {
	in := pairingMode{Mode: m}
	if length > 0 {
		in.For = length.String()
	}
	return admin.Call[PairingStatus](ctx, c.backend, opPairingOpen, in)
}

// ClosePairing closes a mode of the running daemon.
func (c *Control) ClosePairing(ctx context.Context, m pairing.Modes) (PairingStatus, error) {
	return admin.Call[PairingStatus](ctx, c.backend, opPairingClose, pairingMode{Mode: m})
}

// modes returns the pairing modes that are open.
func (a *administrator) modes() pairing.Modes {
	if a.running {
		return a.dev.PairingModes()
	}
	return pairing.NewHost(pairing.HostConfig{
		Store: a.access, Open: a.config().Pairing, Device: a.dev.DeviceID(a.key), Key: a.key,
	}).Modes(time.Now())
}

func (a *administrator) pairingStatus(context.Context, admin.None) (PairingStatus, error) {
	return PairingStatus{Running: a.running, Open: a.modes().Names(), Configured: a.config().Pairing.Names()}, nil
}

// errStopped refuses what only has a meaning while a daemon runs.
func errStopped() error {
	return admin.Fail(nil, "start the daemon, or list the mode under pairing in "+ConfigFile,
		"no daemon runs on this directory, and pairing modes are opened and closed while one does")
}

func (a *administrator) openPairing(ctx context.Context, in pairingMode) (PairingStatus, error) {
	if !a.running {
		return PairingStatus{}, errStopped()
	}
	var length time.Duration
	if in.For != "" {
		var err error
		if length, err = time.ParseDuration(in.For); err != nil || length <= 0 {
			return PairingStatus{}, errors.New("the length of time is not a duration above zero")
		}
	}
	if err := a.dev.OpenPairing(in.Mode, length); err != nil {
		if errors.Is(err, latchkey.ErrConflict) {
			err = admin.Fail(err, "latchkeyd user add NAME --key FINGERPRINT --role admin", "%v", err)
		}
		return PairingStatus{}, err
	}
	a.log.Info("pairing opened", "mode", in.Mode.String(), "for", in.For)
	return a.pairingStatus(ctx, admin.None{})
}

func (a *administrator) closePairing(ctx context.Context, in pairingMode) (PairingStatus, error) {
	if !a.running {
		return PairingStatus{}, errStopped()
	}
	if err := a.dev.ClosePairing(in.Mode); err != nil {
		return PairingStatus{}, err
	}
	a.log.Info("pairing closed", "mode", in.Mode.String())
	return a.pairingStatus(ctx, admin.None{})
}

// pairingURL brings a fresh connect token for each caller, so that the holder of
// one URL uses up nobody else's.
func (a *administrator) pairingURL(context.Context, admin.None) (pairingURL, error) {
	u, err := a.dev.PairingURL()
	if err != nil {
		return pairingURL{}, err
	}
	if len(u.Basestations) > 0 {
		if u.Token, err = a.connectToken(); err != nil {
			return pairingURL{}, err
		}
	}
	return pairingURL{u.Reveal()}, nil
}

// initialSetting is where package pairing keeps that local-initial was used up.
const initialSetting = "pairing.local-initial"

// A Reset says what a reset took away.
type Reset struct {
	Users int `json:"users"`
	Keys  int `json:"keys"`
}

// Reset removes all users and keys; the device's own key stays. The pairing
// modes of the configuration open again.
func (c *Control) Reset(ctx context.Context) (Reset, error) {
	return admin.Call[Reset](ctx, c.backend, opReset, admin.None{})
}

func (a *administrator) reset(context.Context, admin.None) (out Reset, err error) {
	err = a.update(true, func(tx *acl.Tx) error {
		out.Users, out.Keys = count(tx)
		for _, u := range tx.Users() {
			if err := tx.RemoveUser(u.Name); err != nil {
				return err
			}
		}
		return tx.RemoveSetting(initialSetting)
	})
	if err != nil {
		return Reset{}, err
	}
	a.log.Warn("all users and keys were removed", "users", out.Users, "keys", out.Keys)
	if modes := a.config().Pairing; a.running && modes != 0 {
		err = a.dev.OpenPairing(modes, 0)
	}
	return out, err
}
