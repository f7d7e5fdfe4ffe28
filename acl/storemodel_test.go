package acl

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"pgregory.net/rapid"
)

// A model is what a store is meant to hold, in the plainest form.
type model struct {
	users    map[string]string // role
	keys     map[int]string    // user
	settings map[string]string
	invites  map[int]string      // user
	revoked  map[int]bool        // keys
	roles    map[string][]string // includes, of those that are not built in
}

func newModel() *model {
	return &model{
		users: map[string]string{}, keys: map[int]string{}, settings: map[string]string{},
		invites: map[int]string{}, revoked: map[int]bool{}, roles: map[string][]string{},
	}
}

func (m *model) clone() *model {
	return &model{
		maps.Clone(m.users), maps.Clone(m.keys), maps.Clone(m.settings),
		maps.Clone(m.invites), maps.Clone(m.revoked), maps.Clone(m.roles),
	}
}

// removeKey is what the removal of a key leaves behind.
func (m *model) removeKey(n int) {
	delete(m.keys, n)
	m.revoked[n] = true
}

func (m *model) admins() int {
	names := map[string]bool{}
	for _, user := range m.keys {
		if m.users[user] == RoleAdmin {
			names[user] = true
		}
	}
	return len(names)
}

func (m *model) String() string {
	var lines []string
	for name, role := range m.users {
		lines = append(lines, "user "+name+" "+role)
	}
	for n, user := range m.keys {
		lines = append(lines, fmt.Sprintf("key %s %s", fingerprint(n), user))
	}
	for name, value := range m.settings {
		lines = append(lines, "setting "+name+" "+value)
	}
	for n, user := range m.invites {
		lines = append(lines, "invitation "+testInviteID(n)+" "+user)
	}
	for n := range m.revoked {
		lines = append(lines, fmt.Sprintf("revoked %s", fingerprint(n)))
	}
	for name, includes := range m.roles {
		lines = append(lines, fmt.Sprint("role ", name, includes))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// held writes what a store has on disk in the form of model.String.
func held(s *Store) string {
	var lines []string
	err := s.View(func(tx *Tx) error {
		for _, u := range tx.Users() {
			lines = append(lines, "user "+u.Name+" "+u.Role)
			for _, k := range tx.Keys(u.Name) {
				lines = append(lines, fmt.Sprintf("key %s %s", k.Fingerprint, k.User))
			}
		}
		for name := range tx.state.settings {
			value, _ := tx.Setting(name)
			lines = append(lines, "setting "+name+" "+value)
		}
		for _, i := range tx.state.invites { // one whose removal was not written is hidden, and there
			lines = append(lines, "invitation "+i.ID+" "+i.User)
		}
		for fp := range tx.state.revoked {
			lines = append(lines, fmt.Sprintf("revoked %s", fp))
		}
		for _, r := range tx.Roles() {
			if !slices.Contains(builtIn, r.Name) {
				lines = append(lines, fmt.Sprint("role ", r.Name, r.Includes))
			}
		}
		return nil
	})
	if err != nil {
		lines = append(lines, err.Error())
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// An operation changes a store and a model in the same way. The model says
// which error, if any, is due.
type operation struct {
	name  string
	store func(*Tx) error
	model func(*model) error
}

const renames = "rename "

// writes reports whether there is something to write: a user who is renamed to its
// own name stays as it is.
func (o operation) writes() bool {
	names, ok := strings.CutPrefix(o.name, renames)
	from, to, _ := strings.Cut(names, " ")
	return !ok || from != to
}

func drawOperation(t *rapid.T) operation {
	user := rapid.SampledFrom([]string{"anna", "bob", "BOB", "carl"}).Draw(t, "user")
	role := rapid.SampledFrom([]string{RoleAdmin, RoleUser, "nobody", "a", "b"}).Draw(t, "role")
	key := rapid.IntRange(1, 5).Draw(t, "key")
	value := rapid.StringN(0, 20, -1).Draw(t, "value")
	switch rapid.IntRange(0, 11).Draw(t, "kind") {
	case 0:
		return operation{
			"add user " + user, func(tx *Tx) error { return tx.AddUser(User{Name: user, Role: role}) },
			func(m *model) error {
				for name := range m.users {
					if strings.EqualFold(name, user) {
						return latchkey.ErrConflict
					}
				}
				m.users[user] = role
				return nil
			},
		}
	case 1, 2:
		return operation{
			fmt.Sprintf("add key %d of %s", key, user),
			func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(key), User: user}) },
			func(m *model) error {
				if m.keys[key] != "" {
					return latchkey.ErrConflict
				}
				m.keys[key] = user
				delete(m.revoked, key)
				return nil
			},
		}
	case 3:
		return operation{
			"remove user " + user, func(tx *Tx) error { return tx.RemoveUser(user) },
			func(m *model) error {
				if m.users[user] == "" {
					return latchkey.ErrNotFound
				}
				delete(m.users, user)
				for n, owner := range m.keys {
					if owner == user {
						m.removeKey(n)
					}
				}
				maps.DeleteFunc(m.invites, func(_ int, name string) bool { return strings.EqualFold(name, user) })
				return nil
			},
		}
	case 4:
		return operation{
			fmt.Sprintf("remove key %d", key), func(tx *Tx) error { return tx.RemoveKey(fingerprint(key)) },
			func(m *model) error {
				if m.keys[key] == "" {
					return latchkey.ErrNotFound
				}
				m.removeKey(key)
				return nil
			},
		}
	case 5:
		return operation{
			"role of " + user + " " + role, func(tx *Tx) error { return tx.SetRole(user, role) },
			func(m *model) error {
				if m.users[user] == "" {
					return latchkey.ErrNotFound
				}
				m.users[user] = role
				return nil
			},
		}
	case 6, 7:
		return operation{
			fmt.Sprintf("invitation %d for %s", key, user),
			func(tx *Tx) error {
				return tx.PutInvite(Invite{ID: testInviteID(key), User: user, Role: RoleGuest})
			},
			func(m *model) error { m.invites[key] = user; return nil },
		}
	case 8:
		return operation{
			fmt.Sprintf("remove invitation %d", key), func(tx *Tx) error { return tx.RemoveInvite(testInviteID(key)) },
			func(m *model) error {
				if m.invites[key] == "" {
					return latchkey.ErrNotFound
				}
				delete(m.invites, key)
				return nil
			},
		}
	case 9:
		to := rapid.SampledFrom([]string{"anna", "bob", "BOB", "dora"}).Draw(t, "to")
		return operation{
			renames + user + " " + to, func(tx *Tx) error { return tx.RenameUser(user, to) },
			func(m *model) error { return m.rename(user, to) },
		}
	case 10:
		name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")
		includes := rapid.SampledFrom([][]string{nil, {"a"}, {"b"}, {RoleGuest}}).Draw(t, "includes")
		return operation{
			"role " + name, func(tx *Tx) error { return tx.PutRole(Role{Name: name, Includes: includes}) },
			func(m *model) error { m.roles[name] = includes; return nil },
		}
	default:
		return operation{
			"set", func(tx *Tx) error { return tx.SetSetting("s", value) },
			func(m *model) error { m.settings["s"] = value; return nil },
		}
	}
}

// rename gives a user another name.
func (m *model) rename(from, to string) error {
	if m.users[from] == "" {
		return latchkey.ErrNotFound
	}
	for name := range m.users {
		if name != from && strings.EqualFold(name, to) {
			return latchkey.ErrConflict
		}
	}
	if from == to {
		return nil
	}
	m.users[to] = m.users[from]
	delete(m.users, from)
	for n, owner := range m.keys {
		if owner == from {
			m.keys[n] = to
		}
	}
	for n, name := range m.invites {
		if strings.EqualFold(name, from) {
			m.invites[n] = to
		}
	}
	return nil
}

func (m *model) has(role string) bool { _, ok := m.roles[role]; return ok }

// check is what holds for a model after each change.
func (m *model) check(before *model) error {
	for name, includes := range m.roles {
		for _, other := range includes {
			if beyond := m.roles[other]; other == name || len(beyond) > 0 && beyond[0] == name {
				return latchkey.ErrConflict
			}
			if other != RoleGuest && !m.has(other) {
				return latchkey.ErrNotFound
			}
		}
	}
	for _, role := range m.users {
		if role == "nobody" || len(role) == 1 && !m.has(role) {
			return latchkey.ErrNotFound
		}
	}
	for _, user := range m.keys {
		if m.users[user] == "" {
			return latchkey.ErrNotFound
		}
	}
	if before.admins() > 0 && m.admins() == 0 {
		return ErrLastAdmin
	}
	return nil
}

// TestStoreEqualsModel runs changes of one to three operations, some of which
// cannot be written, against a model, and opens the file again after each.
func TestStoreEqualsModel(t *testing.T) {
	dir, runs := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		s, err := Create(filepath.Join(dir, fmt.Sprint(runs), "access.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { s.Close() }()
		m := newModel()
		for range 12 {
			next := m.clone()
			var operations []operation
			for range rapid.IntRange(1, 3).Draw(t, "operations") {
				operations = append(operations, drawOperation(t))
			}
			var want error
			for _, o := range operations {
				if want == nil {
					want = o.model(next)
				}
			}
			if want == nil {
				want = next.check(m)
			}
			if rapid.IntRange(0, 2).Draw(t, "fault") == 0 {
				s.commit = refuse
				if want == nil && slices.ContainsFunc(operations, operation.writes) {
					want = errDisk
				}
			}
			err := s.Update(func(tx *Tx) error {
				for _, o := range operations {
					if err := o.store(tx); err != nil {
						return err
					}
				}
				return nil
			})
			switch {
			case !errors.Is(err, want), (err == nil) != (want == nil):
				t.Fatalf("got %v, want %v", err, want)
			case want == nil:
				m = next
			}
			if got := held(s); got != m.String() {
				t.Fatalf("before the file is opened again: got\n%s\nwant\n%s", got, m)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(s.path); err != nil {
				t.Fatal(err)
			}
			if got := held(s); got != m.String() {
				t.Fatalf("got\n%s\nwant\n%s", got, m)
			}
		}
	})
}
