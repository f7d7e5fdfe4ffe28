package acl

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// An Account is a user with all its keys.
type Account struct {
	User
	Keys []Key `json:"keys"` // the oldest first
	// Version is another one after every change of the user or of one of its
	// keys: 16 hexadecimal digits.
	Version string `json:"version"`
}

// Account returns the account of the user of that exact name.
func (tx *Tx) Account(name string) (Account, bool) {
	u, ok := tx.User(name)
	if !ok {
		return Account{}, false
	}
	return account(u, tx.Keys(name)), true
}

// Accounts returns all accounts, sorted by name.
func (tx *Tx) Accounts() []Account {
	keys := make(map[string][]Key)
	for _, k := range sorted(tx.state.keys, (*Key).clone, orderKeys) {
		keys[k.User] = append(keys[k.User], k)
	}
	users := tx.Users()
	out := make([]Account, len(users))
	for i, u := range users {
		out[i] = account(u, keys[u.Name])
	}
	return out
}

func account(u User, keys []Key) Account {
	if keys == nil {
		keys = []Key{} // a list in JSON, not null
	}
	return Account{User: u, Keys: keys, Version: version(u, keys)}
}

// version returns a text that differs when any of the parts does.
func version(parts ...any) string {
	text, _ := json.Marshal(parts) // cannot fail: what a store holds has been marshalled before
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// CheckVersion returns latchkey.ErrConflict if the account of a user has another
// version than whoever wants to change it saw, and latchkey.ErrNotFound if there
// is no such user. The empty version passes.
func (tx *Tx) CheckVersion(user, version string) error {
	if version == "" {
		return nil
	}
	a, ok := tx.Account(user)
	return checkVersion("user", user, version, a.Version, ok)
}

// RoleVersion is the Version of a role, "" if there is none of that name.
func (tx *Tx) RoleVersion(name string) string {
	r, ok := tx.Role(name)
	if !ok {
		return ""
	}
	return version(r)
}

// CheckRoleVersion is CheckVersion for roles.
func (tx *Tx) CheckRoleVersion(name, version string) error {
	now := tx.RoleVersion(name)
	return checkVersion("role", name, version, now, now != "")
}

// PolicyVersion is the Version of a policy, "" if there is none of that name.
func (tx *Tx) PolicyVersion(name string) string {
	p, ok := tx.Policy(name)
	if !ok {
		return ""
	}
	return version(p)
}

// CheckPolicyVersion is CheckVersion for policies.
func (tx *Tx) CheckPolicyVersion(name, version string) error {
	now := tx.PolicyVersion(name)
	return checkVersion("policy", name, version, now, now != "")
}

func checkVersion(what, name, seen, now string, ok bool) error {
	switch {
	case seen == "" || seen == now:
		return nil
	case !ok:
		return fmt.Errorf("change %s %q: %w", what, name, latchkey.ErrNotFound)
	}
	return fmt.Errorf("change %s %q: somebody else changed it since, read it again: %w", what, name, latchkey.ErrConflict)
}

// RenameUser gives a user another name. Its keys and the invitations for that name
// and by that user follow; policies that spell the old name do not. It is
// latchkey.ErrNotFound if there is no such user, and latchkey.ErrConflict if
// another one has the new name, or one that looks the same.
func (tx *Tx) RenameUser(from, to string) error {
	u, ok := tx.User(from)
	if !ok {
		return fmt.Errorf("rename user %q: %w", from, latchkey.ErrNotFound)
	}
	if from == to {
		return nil
	}
	if twin, ok := tx.state.twinBut(to, from); ok {
		return fmt.Errorf("rename user %q: there is %q: %w", from, twin, latchkey.ErrConflict)
	}
	if err := CheckUserName(to); err != nil {
		return err
	}
	if err := tx.drop(userID(from), func(st *state) { st.dropUser(from) }); err != nil {
		return err
	}
	u.Name = to
	if err := tx.putUser(u); err != nil {
		return err
	}
	for _, k := range tx.Keys(from) {
		k.User = to
		if err := tx.putKey(k); err != nil {
			return err
		}
	}
	for _, i := range tx.invitesFor(from) {
		i.User = to
		if err := tx.putInvite(i); err != nil {
			return err
		}
	}
	for _, i := range tx.invitesBy(from) {
		i.By = to
		if err := tx.putInvite(i); err != nil {
			return err
		}
	}
	return tx.renameRevoked(from, to)
}

// RemoveInvitesBy removes the invitations that a user has made.
func (tx *Tx) RemoveInvitesBy(user string) error {
	for _, i := range tx.invitesBy(user) {
		if err := tx.RemoveInvite(i.ID); err != nil {
			return err
		}
	}
	return nil
}

// invitesFor returns the invitations that give a name.
func (tx *Tx) invitesFor(user string) []Invite {
	var list []Invite
	for _, i := range tx.state.invites {
		if foldName(i.User) == foldName(user) {
			list = append(list, i.clone())
		}
	}
	return list
}

// invitesBy returns the invitations that a user has made.
func (tx *Tx) invitesBy(user string) []Invite {
	var list []Invite
	for _, i := range tx.state.invites {
		if i.By == user {
			list = append(list, i.clone())
		}
	}
	return list
}
