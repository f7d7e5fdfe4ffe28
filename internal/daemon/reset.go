package daemon

import (
	"context"
	"fmt"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/pairing"
)

// A Reset says what a reset took away.
type Reset struct {
	Users   int `json:"users"`
	Keys    int `json:"keys"`
	Invites int `json:"invites"`
}

// Reset makes the device as new but for its key: users, invitations, passwords and
// settings are gone, and the rules are those of a new device. The pairing modes of
// the configuration open again.
func (c *Control) Reset(ctx context.Context) (Reset, error) {
	return admin.Call[Reset](ctx, c.backend, opReset, admin.None{})
}

func (a *administrator) reset(context.Context, admin.None) (out Reset, err error) {
	if err := a.audited(); err != nil {
		return out, err
	}
	out, err = resetStore(a.access)
	a.done(acl.Event{Kind: acl.EventReset, Detail: out.String()}, err)
	if err != nil {
		return Reset{}, a.advise(err, help{})
	}
	a.log.Warn("all users and settings were removed", "users", out.Users, "keys", out.Keys)
	if !a.running {
		return out, nil
	}
	config := a.config()
	if err := a.dev.SetName(config.Name); err != nil {
		return out, err
	}
	if err := a.dev.ClosePairing(allModes); err != nil {
		return out, err
	}
	return out, a.dev.ConfigurePairing(config.Pairing)
}

// allModes are all ways to pair.
const allModes = pairing.LocalInitial | pairing.LocalOpen | pairing.PasswordOpen | pairing.Invite

// String says it in words.
func (r Reset) String() string {
	return fmt.Sprintf("removed %d users with %d keys, and %d invitations", r.Users, r.Keys, r.Invites)
}

// resetStore empties a store.
func resetStore(access *acl.Store) (out Reset, err error) {
	err = access.Update(func(tx *acl.Tx) error {
		out.Users, out.Keys = count(tx)
		out.Invites = len(tx.Invites())
		return tx.Reset()
	})
	return out, err
}
