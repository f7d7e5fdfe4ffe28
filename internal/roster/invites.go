package roster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

const (
	// InviteLife is how long an invitation holds if nobody says otherwise.
	InviteLife = 24 * time.Hour
	// MaxInviteLife is the longest that one can hold.
	MaxInviteLife = 90 * 24 * time.Hour
)

// A NewInvite is somebody to invite.
type NewInvite struct {
	User    string    // who the invited becomes
	Role    string    // "": acl.RoleGuest
	Expires time.Time // zero: InviteLife from now
}

// Invites returns the invitations whose ids come after one, in their order.
func (r *Roster) Invites(after string) (out []acl.Invite, err error) {
	err = r.Access.View(func(tx *acl.Tx) error {
		out = slices.DeleteFunc(tx.Invites(), func(i acl.Invite) bool { return i.ID <= after })
		slices.SortFunc(out, func(a, b acl.Invite) int { return cmp.Compare(a.ID, b.ID) })
		return nil
	})
	return out, err
}

// Invite invites somebody. The invitation that it returns holds the only copy of
// the one-time password. An invitation ends when the user who made it is removed,
// or gets another role than admin: what somebody could give yesterday must not
// outlive that. Whatever else happens to the user's rights, it stays until it is
// removed.
func (r *Roster) Invite(a Actor, i NewInvite) (out pairing.Invitation, err error) {
	now := r.now()
	if i.Role == "" {
		i.Role = acl.RoleGuest
	}
	if i.Expires.IsZero() {
		i.Expires = now.Add(InviteLife)
	}
	d := deed{kind: acl.EventInvite, action: acl.InviteCreate, object: i.User, detail: "role " + i.Role + " until " + when(i.Expires)}
	out, err = r.invite(a, i, now)
	err = explain(err)
	r.record(a, d, err)
	return out, err
}

func (r *Roster) invite(a Actor, i NewInvite, now time.Time) (out pairing.Invitation, err error) {
	if r.Pairing == nil {
		return out, errNoPairing
	}
	if now.IsZero() {
		return out, errClock
	}
	if life := i.Expires.Sub(now); life <= 0 || life > MaxInviteLife {
		return out, fmt.Errorf("%w: an invitation ends in the future, within %d days", latchkey.ErrProtocol, MaxInviteLife/(24*time.Hour))
	}
	request := pairing.InviteRequest{User: i.User, Role: i.Role, By: by(a), Expires: i.Expires}
	request.Check = func(tx *acl.Tx) error {
		if err := a.current(tx); err != nil {
			return err
		}
		return checkRole(tx, i.Role)
	}
	err = a.repeat(func() (err error) {
		out, err = r.Pairing.Invite(now, request)
		return err
	})
	return out, err
}

// name says who the actor is in what it leaves behind: a user by its name, and
// others by what no user can have as a name.
func (a Actor) name() string {
	switch {
	case a.Console:
		return "(console)"
	case a.Token != "":
		return "token:" + a.Token
	}
	return a.User
}

// by is the name of an actor as an invitation takes it.
func by(a Actor) string {
	name := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, a.name())
	if len(name) > acl.MaxInviter {
		name = strings.ToValidUTF8(name[:acl.MaxInviter], "")
	}
	return name
}

// RemoveInvite withdraws an invitation.
func (r *Roster) RemoveInvite(a Actor, id string) error {
	d := deed{kind: acl.EventInvite, action: acl.InviteRemove, object: id, detail: "removed"}
	return r.do(a, Terms{}, d, func(tx *acl.Tx) error {
		return tx.RemoveInvite(id)
	})
}
