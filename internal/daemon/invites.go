package daemon

import (
	"context"
	"time"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/roster"
	"github.com/latchkey-dev/latchkey/pairing"
)

// A NewInvite is somebody to invite.
type NewInvite struct {
	User string `json:"user"`
	Role string `json:"role,omitempty"` // "": DefaultRole
	For  string `json:"for,omitempty"`  // a duration; "": roster.InviteLife
}

// An Invitation lets its holder in, once.
type Invitation struct {
	URL     string    `json:"url"` // as secret as a password
	ID      string    `json:"id"`
	User    string    `json:"user"`
	Role    string    `json:"role"`
	Expires time.Time `json:"expires"`
	// Open says whether the mode is open by which it works; Running, whether
	// anybody serves.
	Open    bool `json:"open"`
	Running bool `json:"running"`
}

// Invite makes an invitation.
func (c *Control) Invite(ctx context.Context, i NewInvite) (Invitation, error) {
	return admin.Call[Invitation](ctx, c.backend, opInviteCreate, i)
}

// Invites lists the invitations that were neither used nor removed.
func (c *Control) Invites(ctx context.Context) ([]acl.Invite, error) {
	return admin.Call[[]acl.Invite](ctx, c.backend, opInviteList, admin.None{})
}

// RemoveInvite withdraws an invitation.
func (c *Control) RemoveInvite(ctx context.Context, id string) error {
	_, err := admin.Call[admin.None](ctx, c.backend, opInviteRemove, named{id})
	return err
}

func (a *administrator) invite(_ context.Context, in NewInvite) (Invitation, error) {
	i := roster.NewInvite{User: in.User, Role: in.Role}
	if in.For != "" {
		life, err := readLength(in.For)
		if err != nil {
			return Invitation{}, err
		}
		i.Expires = time.Now().Add(life)
	}
	h := help{missing: listRoles, taken: listUsers + ", and choose a name that is free"}
	made, err := change(a, h, func(r *roster.Roster) (pairing.Invitation, error) { return r.Invite(console, i) })
	if err != nil {
		return Invitation{}, err
	}
	u, err := a.dev.InvitationURL(a.access, made)
	if err != nil {
		return Invitation{}, err
	}
	return Invitation{
		URL: u.Reveal(), ID: made.ID, User: made.User, Role: made.Role, Expires: made.Expires,
		Open: a.modes().Has(pairing.Invite), Running: a.running,
	}, nil
}

func (a *administrator) invites(context.Context, admin.None) ([]acl.Invite, error) {
	var list []acl.Invite
	err := a.access.View(func(tx *acl.Tx) error {
		list = tx.Invites()
		return nil
	})
	return nonNil(list), err
}

func (a *administrator) removeInvite(_ context.Context, in named) (admin.None, error) {
	return act(a, help{missing: "latchkeyd invites list"}, func(r *roster.Roster) error { return r.RemoveInvite(console, in.Name) })
}
