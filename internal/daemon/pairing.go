package daemon

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/pairing"
)

// A PairingStatus says how a stranger could pair.
type PairingStatus struct {
	Running    bool          `json:"running"`    // a daemon serves
	Open       []string      `json:"open"`       // by which somebody can pair now or, when no daemon runs, as soon as one does
	Configured []string      `json:"configured"` // by latchkeyd.yaml
	Modes      []PairingMode `json:"modes"`      // that were opened, also those by which nobody can pair
	Tries      int           `json:"tries"`      // wrong passwords that password-open still takes
	Invites    int           `json:"invites"`    // invitations that still hold
}

// A PairingMode is a mode that the configuration or somebody opened.
type PairingMode struct {
	Mode    string    `json:"mode"`
	Until   time.Time `json:"until,omitzero"` // zero: until it is closed or used up
	ByHand  bool      `json:"by_hand"`        // and not by configuration
	Blocked string    `json:"blocked,omitempty"`
}

// An Opened is what OpenPairing did.
type Opened struct {
	PairingStatus
	URL string `json:"url,omitempty"` // with the password that was made
}

type pairingMode struct {
	Mode     pairing.Modes `json:"mode"`
	For      string        `json:"for,omitempty"` // "": until closed or used up
	Password string        `json:"password,omitempty"`
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
// or, with a length above zero, for that long at most. PasswordOpen takes the
// password that is given; without one it makes one, which is in the URL.
func (c *Control) OpenPairing(ctx context.Context, m pairing.Modes, length time.Duration, password latchkey.Secret) (Opened, error) {
	in := pairingMode{Mode: m, Password: password.Reveal()}
	if length > 0 {
		in.For = length.String()
	}
	return admin.Call[Opened](ctx, c.backend, opPairingOpen, in)
}

// ClosePairing closes a mode of the running daemon.
func (c *Control) ClosePairing(ctx context.Context, m pairing.Modes) (PairingStatus, error) {
	return admin.Call[PairingStatus](ctx, c.backend, opPairingClose, pairingMode{Mode: m})
}

// openings returns the modes that were opened.
func (a *administrator) openings() []pairing.Opening {
	if a.running {
		list, err := a.dev.PairingOpenings()
		if err != nil {
			return nil // it has just stopped
		}
		return list
	}
	return a.host().Openings(time.Now())
}

// modes returns the pairing modes by which somebody can pair.
func (a *administrator) modes() (set pairing.Modes) {
	for _, o := range a.openings() {
		if o.Blocked == nil {
			set |= o.Mode
		}
	}
	return set
}

func (a *administrator) pairingStatus(context.Context, admin.None) (PairingStatus, error) {
	st := PairingStatus{Running: a.running, Open: a.modes().Names(), Configured: a.config().Pairing.Names(), Modes: []PairingMode{}}
	for _, o := range a.openings() {
		m := PairingMode{Mode: o.Mode.String(), Until: o.Until, ByHand: o.ByHand}
		if o.Blocked != nil {
			m.Blocked = reason(o.Blocked)
		}
		st.Modes = append(st.Modes, m)
	}
	var err error
	if st.Tries, err = a.host().TriesLeft(); err != nil {
		return st, err
	}
	err = a.access.View(func(tx *acl.Tx) error {
		st.Invites = len(slices.DeleteFunc(tx.Invites(), func(i acl.Invite) bool { return !pairing.InviteHolds(i, time.Now()) }))
		return nil
	})
	return st, err
}

// errStopped refuses what only has a meaning while a daemon runs.
func errStopped() error {
	return admin.Fail(nil, "start the daemon, or list the mode under pairing in "+ConfigFile,
		"no daemon runs on this directory, and pairing modes are opened and closed while one does")
}

func (a *administrator) openPairing(ctx context.Context, in pairingMode) (out Opened, err error) {
	if !a.running {
		return out, errStopped()
	}
	var length time.Duration
	if in.For != "" {
		if length, err = readLength(in.For); err != nil {
			return out, err
		}
	}
	if in.Password != "" && in.Mode != pairing.PasswordOpen {
		return out, admin.Fail(latchkey.ErrProtocol, "", "only %s has a password", pairing.PasswordOpen)
	}
	password := latchkey.NewSecret(in.Password)
	if in.Mode == pairing.PasswordOpen {
		if in.Password == "" {
			password = pairing.NewPassword()
		}
		if err := a.dev.SetPairingPassword(password); err != nil {
			return out, err
		}
	}
	if err := a.dev.OpenPairing(in.Mode, length); err != nil {
		return out, a.advise(err, help{taken: "latchkeyd user add NAME --key FINGERPRINT --role admin"})
	}
	a.log.Info("pairing opened", "mode", in.Mode.String(), "for", in.For)
	if in.Mode == pairing.PasswordOpen && in.Password == "" {
		if out.URL, err = a.revealURL(password, a.connectToken); err != nil {
			return out, err
		}
	}
	out.PairingStatus, err = a.pairingStatus(ctx, admin.None{})
	return out, err
}

// maxLength is how long something may be opened for.
const maxLength = 366 * 24 * time.Hour

func readLength(s string) (time.Duration, error) {
	length, err := time.ParseDuration(s)
	if err != nil || length <= 0 || length > maxLength {
		return 0, errors.New("the length of time is not a duration above zero, and at most a year")
	}
	return length, nil
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

func (a *administrator) pairingURL(context.Context, admin.None) (pairingURL, error) {
	text, err := a.revealURL(latchkey.Secret{}, a.connectToken)
	return pairingURL{text}, err
}

// revealURL brings a fresh connect token for each caller, so that the holder of
// one URL uses up nobody else's.
func (a *administrator) revealURL(password latchkey.Secret, token func() (latchkey.ConnectToken, error)) (string, error) {
	u, err := a.dev.PairingURL()
	if err != nil {
		return "", err
	}
	if len(u.Basestations) > 0 {
		if u.Token, err = token(); err != nil {
			return "", err
		}
	}
	u.Password = password
	return u.Reveal(), nil
}
