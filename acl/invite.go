package acl

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

// An Invite lets one person in, once.
type Invite struct {
	ID       string    `json:"id"`               // 128 random bits, base64url without padding: 22 characters
	User     string    `json:"user"`             // the name that the invited gets; see CheckUserName
	Role     string    `json:"role"`             // and the role, not RoleUnpaired
	By       string    `json:"by,omitempty"`     // the user who invited, or a text that is no user's name; at most MaxInviter bytes
	Created  time.Time `json:"created,omitzero"` // when
	Expires  time.Time `json:"expires,omitzero"` // from then on it is void; zero: never
	Failures int       `json:"failures"`         // wrong passwords so far
	Verifier []byte    `json:"-"`                // what the password is checked with, at most MaxVerifier bytes
}

// storedInvite is the form in the file. An Invite that is shown to people keeps
// its verifier to itself.
type storedInvite struct {
	Invite
	Verifier []byte `json:"verifier"`
}

// MaxInviter is the longest Invite.By in bytes: enough for the name of any user.
const MaxInviter = 256

// inviteIDBytes is how many random bytes an id stands for.
const inviteIDBytes = 16

func (i *Invite) clone() Invite { c := *i; c.Verifier = slices.Clone(i.Verifier); return c }

func (i Invite) clean() (*Invite, error) {
	id, err := base64.RawURLEncoding.Strict().DecodeString(i.ID)
	if err != nil || len(id) != inviteIDBytes {
		return nil, mistake("the id of an invitation is %d bytes in base64url", inviteIDBytes)
	}
	if err := checkStoredName(i.User); err != nil {
		return nil, err
	}
	if i.Role == RoleUnpaired {
		return nil, mistake("role %q is for peers that are no user", RoleUnpaired)
	}
	if len(i.By) > MaxInviter {
		return nil, mistake("who invited is told in at most %d bytes", MaxInviter)
	}
	if i.By != "" {
		if err := checkText(i.By); err != nil {
			return nil, err
		}
	}
	if err := checkTimes(i.Created, i.Expires); err != nil {
		return nil, err
	}
	if i.Failures < 0 || len(i.Verifier) > MaxVerifier {
		return nil, mistake("an invitation counts its failures from 0, and its verifier has at most %d bytes", MaxVerifier)
	}
	i = i.clone()
	i.Created, i.Expires = plainTime(i.Created), plainTime(i.Expires)
	return &i, nil
}

// Invites returns the invitations that were neither used nor removed, the oldest
// first. Some may have expired.
func (tx *Tx) Invites() []Invite {
	all := sorted(tx.state.invites, (*Invite).clone, func(a, b *Invite) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return slices.DeleteFunc(all, func(i Invite) bool { return tx.withdrawn(i.ID) })
}

// Invite returns the invitation with that id.
func (tx *Tx) Invite(id string) (Invite, bool) {
	if i := tx.state.invites[id]; i != nil && !tx.withdrawn(id) {
		return i.clone(), true
	}
	return Invite{}, false
}

// withdrawn reports whether an invitation was removed, although that could not be
// written.
func (tx *Tx) withdrawn(id string) bool { return tx.wished != nil && tx.wished.invites[id] == nil }

// PutInvite adds an invitation or replaces the one with that id.
func (tx *Tx) PutInvite(i Invite) error {
	if tx.state.invites[i.ID] == nil {
		if err := CheckUserName(i.User); err != nil {
			return err
		}
	}
	if tx.state.invites[i.ID] != nil && tx.withdrawn(i.ID) {
		return fmt.Errorf("change invitation %s: %w", i.ID, latchkey.ErrNotFound)
	}
	return tx.putInvite(i)
}

func (tx *Tx) putInvite(i Invite) error {
	clean, err := i.clean()
	if err != nil {
		return err
	}
	return tx.put(inviteID(i.ID), storedInvite{*clean, clean.Verifier}, func(st *state) { st.invites[i.ID] = clean })
}

// RemoveInvite removes an invitation. It is latchkey.ErrNotFound if there is none
// with that id.
func (tx *Tx) RemoveInvite(id string) error {
	if tx.state.invites[id] == nil {
		return fmt.Errorf("remove invitation %q: %w", id, latchkey.ErrNotFound)
	}
	return tx.drop(inviteID(id), func(st *state) { delete(st.invites, id) })
}

// loadInvite adds what one record says, and returns where it belongs.
func (st *state) loadInvite(payload []byte) (string, error) {
	var stored storedInvite
	if err := vault.Decode(payload, &stored); err != nil {
		return "", err
	}
	stored.Invite.Verifier = stored.Verifier
	clean, err := stored.Invite.clean()
	if err != nil {
		return "", err
	}
	st.invites[clean.ID] = clean
	return clean.ID, nil
}
