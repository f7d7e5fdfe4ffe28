package acl

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

// A Tx reads, and inside Store.Update changes, one state of a store. It belongs
// to the function that it was given to, and to one goroutine. Everything that it
// returns is a copy.
//
// What its methods refuse they leave unchanged, but the others' changes stand:
// to take back everything, return an error from the function.
type Tx struct {
	state    *state
	wished   *state                    // with what could not be written; see snapshot
	changes  map[vault.ID]vault.Record // to be written; "" removes. nil: read only
	applied  map[vault.ID]func(*state) // the same, as changes of a state
	force    bool
	quiet    bool
	by       string // who makes the change, if that is a user
	finished bool
}

// newTx returns a Tx that can change st.
func newTx(st, wished *state) *Tx {
	return &Tx{state: st, wished: wished, changes: make(map[vault.ID]vault.Record), applied: make(map[vault.ID]func(*state))}
}

// errReadOnly reports a change outside of Update.
var errReadOnly = errors.New("acl: only the function given to Update can change the store, and only until it returns")

// Generation grows with every change that is committed. Who read at one
// generation and finds another knows that somebody else was faster.
func (tx *Tx) Generation() uint64 { return tx.state.generation }

// Force lets this change leave no administrator who holds a key.
func (tx *Tx) Force() { tx.force = true }

// Quiet says that this change decides nothing: counters, budgets. It is as durable
// as any other, but wakes nobody who waits for Changed. For a change of more than
// settings and invitations it has no effect.
func (tx *Tx) Quiet() { tx.quiet = true }

// Held reports whether what an earlier change took away is refused although it
// could not be written. Such a change has an effect also if it only says what is
// there.
func (tx *Tx) Held() bool { return tx.wished != nil }

// Users returns all users, sorted by name.
func (tx *Tx) Users() []User {
	return sorted(tx.state.users, func(u *User) User { return u.clone() },
		func(a, b *User) int { return cmp.Compare(a.Name, b.Name) })
}

// User returns the user of that exact name.
func (tx *Tx) User(name string) (User, bool) {
	if u := tx.state.users[name]; u != nil {
		return u.clone(), true
	}
	return User{}, false
}

// Keys returns the keys of a user, the oldest first.
func (tx *Tx) Keys(user string) []Key {
	own := make(map[latchkey.Fingerprint]*Key)
	for fp, k := range tx.state.keys {
		if k.User == user {
			own[fp] = k
		}
	}
	return sorted(own, (*Key).clone, orderKeys)
}

func orderKeys(a, b *Key) int {
	return cmp.Or(a.Added.Compare(b.Added), cmp.Compare(a.Fingerprint.String(), b.Fingerprint.String()))
}

// Key returns the key with that fingerprint.
func (tx *Tx) Key(fp latchkey.Fingerprint) (Key, bool) {
	if k := tx.state.keys[fp]; k != nil {
		return k.clone(), true
	}
	return Key{}, false
}

// Roles returns all roles, sorted by name.
func (tx *Tx) Roles() []Role {
	return sorted(tx.state.roles, func(r *Role) Role { return r.clone() },
		func(a, b *Role) int { return cmp.Compare(a.Name, b.Name) })
}

// Role returns the role of that name.
func (tx *Tx) Role(name string) (Role, bool) {
	if r := tx.state.roles[name]; r != nil {
		return r.clone(), true
	}
	return Role{}, false
}

// Policies returns all policies, sorted by name.
func (tx *Tx) Policies() []*Policy {
	return slices.SortedFunc(maps.Values(tx.state.policies),
		func(a, b *Policy) int { return cmp.Compare(a.name, b.name) })
}

// Policy returns the policy of that name.
func (tx *Tx) Policy(name string) (*Policy, bool) {
	p, ok := tx.state.policies[name]
	return p, ok
}

// Setting returns what SetSetting stored under name.
func (tx *Tx) Setting(name string) (string, bool) {
	value, ok := tx.state.settings[name]
	return value, ok
}

// AddUser adds a user. It is latchkey.ErrConflict if one has that name, or one
// that looks the same; see AlikeNames.
func (tx *Tx) AddUser(u User) error {
	if err := CheckUserName(u.Name); err != nil {
		return err
	}
	if twin, ok := tx.state.twin(u.Name); ok {
		return fmt.Errorf("add user %q: there is %q: %w", u.Name, twin, latchkey.ErrConflict)
	}
	return tx.putUser(u)
}

// SetUser replaces the user of that name, latchkey.ErrNotFound if there is none.
func (tx *Tx) SetUser(u User) error {
	if tx.state.users[u.Name] == nil {
		return fmt.Errorf("change user %q: %w", u.Name, latchkey.ErrNotFound)
	}
	return tx.putUser(u)
}

// SetRole gives a user another role.
func (tx *Tx) SetRole(user, role string) error {
	u, ok := tx.User(user)
	if !ok {
		return fmt.Errorf("change user %q: %w", user, latchkey.ErrNotFound)
	}
	u.Role = role
	return tx.putUser(u)
}

// RemoveUser removes a user with all its keys, and the invitations for that name
// and by that user. It is latchkey.ErrNotFound if there is none of that name.
func (tx *Tx) RemoveUser(name string) error {
	if tx.state.users[name] == nil {
		return fmt.Errorf("remove user %q: %w", name, latchkey.ErrNotFound)
	}
	for fp, k := range tx.state.keys {
		if k.User == name {
			if err := tx.RemoveKey(fp); err != nil {
				return err
			}
		}
	}
	for _, i := range tx.invitesFor(name) {
		if err := tx.RemoveInvite(i.ID); err != nil {
			return err
		}
	}
	if err := tx.RemoveInvitesBy(name); err != nil {
		return err
	}
	return tx.drop(userID(name), func(st *state) { st.dropUser(name) })
}

func (tx *Tx) putUser(u User) error {
	clean, err := u.clean()
	if err != nil {
		return err
	}
	return tx.put(userID(u.Name), clean, func(st *state) { st.putUser(clean) })
}

// AddKey adds a key. It is latchkey.ErrConflict if the key is there already,
// whoever has it.
func (tx *Tx) AddKey(k Key) error {
	if old := tx.state.keys[k.Fingerprint]; old != nil {
		return fmt.Errorf("add key %s: user %q has it: %w", k.Fingerprint, old.User, latchkey.ErrConflict)
	}
	if err := tx.putKey(k); err != nil {
		return err
	}
	return tx.forgive(k.Fingerprint)
}

// SetKey replaces the key with that fingerprint, latchkey.ErrNotFound if there
// is none.
func (tx *Tx) SetKey(k Key) error {
	if tx.state.keys[k.Fingerprint] == nil {
		return fmt.Errorf("change key %s: %w", k.Fingerprint, latchkey.ErrNotFound)
	}
	return tx.putKey(k)
}

// RemoveKey removes a key, and remembers that; see Revoked. Its user stays, even
// without a key. It is latchkey.ErrNotFound if there is no such key.
func (tx *Tx) RemoveKey(fp latchkey.Fingerprint) error {
	k := tx.state.keys[fp]
	if k == nil {
		return fmt.Errorf("remove key %s: %w", fp, latchkey.ErrNotFound)
	}
	if err := tx.drop(keyID(fp), func(st *state) { delete(st.keys, fp) }); err != nil {
		return err
	}
	return tx.revoke(fp, k.User)
}

func (tx *Tx) putKey(k Key) error {
	clean, err := k.clean()
	if err != nil {
		return err
	}
	return tx.put(keyID(k.Fingerprint), clean, func(st *state) { st.keys[k.Fingerprint] = clean })
}

// PutRole adds a role or replaces the one of that name.
func (tx *Tx) PutRole(r Role) error {
	clean, err := r.clean()
	if err != nil {
		return err
	}
	return tx.put(roleID(r.Name), clean, func(st *state) { st.roles[r.Name] = clean })
}

// RemoveRole removes a role. It is latchkey.ErrConflict while a user or an
// invitation has it or another role includes it, and always for the four built-in
// roles.
func (tx *Tx) RemoveRole(name string) error {
	if tx.state.roles[name] == nil {
		return fmt.Errorf("remove role %q: %w", name, latchkey.ErrNotFound)
	}
	if slices.Contains(builtIn, name) {
		return fmt.Errorf("remove role %q: it is built in: %w", name, latchkey.ErrConflict)
	}
	if bearer := tx.state.bearer(name); bearer != "" {
		return fmt.Errorf("remove role %q: %s has it: %w", name, bearer, latchkey.ErrConflict)
	}
	return tx.drop(roleID(name), func(st *state) { delete(st.roles, name) })
}

// PutPolicy adds a policy or replaces the one of that name.
func (tx *Tx) PutPolicy(p *Policy) error {
	if p == nil || p.name == "" {
		return mistake("a policy comes from NewPolicy or ParsePolicy")
	}
	return tx.put(policyID(p.name), p, func(st *state) { st.policies[p.name] = p })
}

// RemovePolicy removes a policy. It is latchkey.ErrConflict while a role, user
// or key has it.
func (tx *Tx) RemovePolicy(name string) error {
	if tx.state.policies[name] == nil {
		return fmt.Errorf("remove policy %q: %w", name, latchkey.ErrNotFound)
	}
	if holder := tx.state.holder(name); holder != "" {
		return fmt.Errorf("remove policy %q: %s has it: %w", name, holder, latchkey.ErrConflict)
	}
	return tx.drop(policyID(name), func(st *state) { delete(st.policies, name) })
}

// SetSetting stores a value of valid UTF-8, at most MaxSetting bytes. What it
// means is for the caller to know; secrets do not belong here.
func (tx *Tx) SetSetting(name, value string) error {
	if err := checkName("setting", name); err != nil {
		return err
	}
	if len(value) > MaxSetting || !utf8.ValidString(value) {
		return mistake("setting %q: a value is at most %d bytes of valid UTF-8", name, MaxSetting)
	}
	return tx.put(vault.ID{Bucket: settingsBucket, Key: name}, value, func(st *state) { st.settings[name] = value })
}

// RemoveSetting removes a setting, if it is there.
func (tx *Tx) RemoveSetting(name string) error {
	if _, ok := tx.state.settings[name]; !ok {
		return nil
	}
	return tx.drop(vault.ID{Bucket: settingsBucket, Key: name}, func(st *state) { delete(st.settings, name) })
}

// decidesNothing reports whether only settings and invitations are changed.
func (tx *Tx) decidesNothing() bool {
	for id := range tx.changes {
		if id.Bucket != settingsBucket && id.Bucket != invitesBucket {
			return false
		}
	}
	return true
}

// put stores a value in both its forms: decoded by apply, and as a record to write.
func (tx *Tx) put(id vault.ID, value any, apply func(*state)) error {
	if tx.changes == nil || tx.finished {
		return errReadOnly
	}
	payload, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if id.Bucket == policiesBucket && len(payload) > MaxPolicySize {
		return fmt.Errorf("policy %q has %d bytes, %d are the most: %w", id.Key, len(payload), MaxPolicySize, latchkey.ErrTooLarge)
	}
	apply(tx.state)
	tx.changes[id], tx.applied[id] = vault.Seal(id, payload), apply
	return nil
}

// drop removes what put stored.
func (tx *Tx) drop(id vault.ID, apply func(*state)) error {
	if tx.changes == nil || tx.finished {
		return errReadOnly
	}
	apply(tx.state)
	tx.changes[id], tx.applied[id] = "", apply
	return nil
}

// sorted returns copies of the values of a map in order. It sorts pointers, for
// which all types share the compiled code.
func sorted[K comparable, V, C any](m map[K]*V, copied func(*V) C, order func(a, b *V) int) []C {
	out := make([]C, 0, len(m))
	for _, v := range slices.SortedFunc(maps.Values(m), order) {
		out = append(out, copied(v))
	}
	return out
}
