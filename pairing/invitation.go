package pairing

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// An InviteRequest says whom to invite.
type InviteRequest struct {
	User    string    // who the holder becomes; no user yet
	Role    string    // and what
	By      string    // the user who invites, or a text that is no user's name; may be empty
	Expires time.Time // from then on it is void; zero: never

	// Check is asked in the change that makes the invitation, and before the work
	// that this takes: an error ends it. Nil: nobody is.
	Check func(*acl.Tx) error
}

// An Invitation is what its holder needs, beside the device's address and key.
// Only here is the password ever known.
type Invitation struct {
	ID       string // 128 random bits, 22 characters
	User     string
	Role     string
	Expires  time.Time
	Password latchkey.Secret // as NewPassword draws them
}

// Invite makes an invitation, which works once, while the mode Invite is open.
// It is latchkey.ErrConflict if there is a user of that name, and whatever the
// store says of a role that it does not have or of too many invitations. Those
// that nobody can use any more make room. This takes some 50 ms, one invitation
// after the other.
func (h *Host) Invite(now time.Time, r InviteRequest) (Invitation, error) {
	if err := acl.CheckUserName(r.User); err != nil {
		return Invitation{}, err
	}
	if !r.Expires.IsZero() && (now.IsZero() || !now.Before(r.Expires)) {
		return Invitation{}, fmt.Errorf("pairing: an invitation until %v would be void at once", r.Expires)
	}
	if err := h.identified(); err != nil {
		return Invitation{}, err
	}
	var id [inviteSize]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	in := Invitation{ID: formatBytes(id[:]), User: r.User, Role: r.Role, Expires: r.Expires, Password: NewPassword()}
	ready := func(tx *acl.Tx) error {
		if r.Check != nil {
			if err := r.Check(tx); err != nil {
				return err
			}
		}
		return free(tx, r.User)
	}
	verifier, err := h.derive(in.Password, in.ID, func() error { return h.store.View(ready) })
	if err != nil {
		return Invitation{}, err
	}
	err = h.store.Update(func(tx *acl.Tx) error {
		if err := ready(tx); err != nil {
			return err
		}
		if err := sweep(tx, now); err != nil {
			return err
		}
		return tx.PutInvite(acl.Invite{
			ID: in.ID, User: r.User, Role: r.Role, By: r.By, Created: now, Expires: r.Expires, Verifier: verifier,
		})
	})
	if err != nil {
		return Invitation{}, err
	}
	return in, nil
}

// free returns latchkey.ErrConflict when there is a user of that name, or of one
// that looks the same.
func free(tx *acl.Tx, user string) error {
	for _, u := range tx.Users() {
		if acl.AlikeNames(u.Name, user) {
			return fmt.Errorf("invite %q: there is %q: %w", user, u.Name, latchkey.ErrConflict)
		}
	}
	return nil
}

// keepExpired is how long an invitation is shown after it has expired.
const keepExpired = 24 * time.Hour

// sweep removes the invitations that are worn, or expired some time ago.
func sweep(tx *acl.Tx, now time.Time) error {
	for _, i := range tx.Invites() {
		old := !i.Expires.IsZero() && !now.IsZero() && now.Sub(i.Expires) > keepExpired
		if old || i.Failures >= MaxFailures {
			if err := tx.RemoveInvite(i.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// Reserved returns latchkey.ErrConflict when somebody is invited to become the user
// of that name, or of one that looks the same, and may still come. Nobody else gets the
// name then. While the time is not known, which is zero, no invitation has expired.
func Reserved(tx *acl.Tx, user string, now time.Time) error {
	for _, i := range tx.Invites() {
		if acl.AlikeNames(i.User, user) && i.Failures < MaxFailures && (now.IsZero() || holds(i, now)) {
			return fmt.Errorf("user %q: somebody is invited by the name %q: %w", user, i.User, latchkey.ErrConflict)
		}
	}
	return nil
}

// holds reports whether an invitation can be used at the time now.
func holds(i acl.Invite, now time.Time) bool {
	return i.Expires.IsZero() || !now.IsZero() && now.Before(i.Expires)
}

// invitesUsable returns nil when somebody may hold an invitation that works.
func (h *Host) invitesUsable(tx *acl.Tx, now time.Time) error {
	if err := h.identified(); err != nil {
		return err
	}
	for _, i := range tx.Invites() {
		if InviteHolds(i, now) {
			return nil
		}
	}
	return errNoInvite
}

// byInvite is a try of the password of an invitation.
type byInvite struct {
	host *Host
	id   string
}

// errInvite is what everybody is told whose invitation does not work, whether
// there ever was one or not.
var errInvite = fmt.Errorf("%w: the invitation is unknown, used, expired or void", latchkey.ErrPairingClosed)

// errVoid is errInvite, and tells us alone that it has failed too often.
var errVoid = fmt.Errorf("%w", errInvite)

func (b *byInvite) verifier(tx *acl.Tx, now time.Time) ([]byte, error) {
	if _, open := b.host.opening(Invite, now); !open {
		return nil, latchkey.ErrPairingClosed
	}
	i, ok := tx.Invite(b.id)
	if !ok || !holds(i, now) {
		return nil, errInvite
	}
	return i.Verifier, nil
}

func (b *byInvite) check(tx *acl.Tx, _ time.Time, _ Peer) error {
	switch i, ok := tx.Invite(b.id); {
	case !ok:
		return errInvite
	case i.Failures >= MaxFailures:
		return errVoid
	}
	return nil
}

func (b *byInvite) charge(tx *acl.Tx, _ time.Time, _ Peer) (last bool, err error) {
	i, err := b.count(tx, +1)
	return i.Failures == MaxFailures, err
}

func (b *byInvite) refund(tx *acl.Tx) error {
	_, err := b.count(tx, -1)
	return err
}

func (b *byInvite) count(tx *acl.Tx, by int) (acl.Invite, error) {
	i, ok := tx.Invite(b.id)
	if !ok {
		return i, errInvite
	}
	i.Failures = max(0, i.Failures+by)
	return i, tx.PutInvite(i)
}

func (b *byInvite) grant(tx *acl.Tx, r Request) (user, role string, err error) {
	i, ok := tx.Invite(b.id)
	if !ok {
		return "", "", errInvite
	}
	if r.User != "" && r.User != i.User {
		return "", "", fmt.Errorf("%w: the invitation is for %q", latchkey.ErrConflict, i.User)
	}
	return i.User, i.Role, nil
}

func (b *byInvite) spend(tx *acl.Tx) error { return tx.RemoveInvite(b.id) }
