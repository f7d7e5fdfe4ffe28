package acl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// fingerprint returns a different fingerprint for each n.
func fingerprint(n int) latchkey.Fingerprint {
	var b [latchkey.FingerprintSize]byte
	b[0] = 1
	binary.BigEndian.PutUint64(b[24:], uint64(n))
	fp, err := latchkey.FingerprintFromBytes(b[:])
	if err != nil {
		panic(err)
	}
	return fp
}

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Create(filepath.Join(t.TempDir(), "access.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func update(t testing.TB, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.Update(fn); err != nil {
		t.Fatal(err)
	}
}

// pair adds a user with one key.
func pair(t testing.TB, s *Store, user, role string, n int) latchkey.Fingerprint {
	t.Helper()
	update(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.AddUser(User{Name: user, Role: role}),
			tx.AddKey(Key{Fingerprint: fingerprint(n), User: user, Name: "laptop", Origin: "manual"}),
		)
	})
	return fingerprint(n)
}

// reopen closes s and opens its file again.
func reopen(t testing.TB, s *Store) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(s.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return again
}

func TestStoreKeeps(t *testing.T) {
	s := newStore(t)
	added := time.Date(2026, 11, 21, 20, 0, 0, 123456789, time.FixedZone("", 3600))
	night, err := ParsePolicy("night", []byte(`{"name":"night","statements":[{"effect":"deny","actions":["*"],"resources":["/a<b>&c/**"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	update(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.PutPolicy(night),
			tx.PutRole(Role{Name: "night-watch", Policies: []string{"guest", "night"}}),
			tx.AddUser(User{Name: "Zoë", Role: "night-watch", Policies: []string{"night"}, Added: added, Expires: added.Add(time.Hour)}),
			tx.AddKey(Key{Fingerprint: fingerprint(1), User: "Zoë", Name: "Zoë's phone", Policies: []string{"user"}, Added: added, Origin: "local-open", Expires: added.Add(time.Minute)}),
			tx.SetSetting("device.name", "Küche \"<&>\"\u2028"),
		)
	})
	for range 2 {
		err := s.View(func(tx *Tx) error {
			u, _ := tx.User("Zoë")
			k, _ := tx.Key(fingerprint(1))
			r, _ := tx.Role("night-watch")
			p, _ := tx.Policy("night")
			v, _ := tx.Setting("device.name")
			got := fmt.Sprint(u, k, r, text(t, p), v, len(tx.Users()), len(tx.Keys("Zoë")), len(tx.Roles()), len(tx.Policies()), tx.Generation())
			plain := added.UTC()
			want := fmt.Sprint(
				User{"Zoë", "night-watch", []string{"night"}, plain, plain.Add(time.Hour)},
				Key{fingerprint(1), "Zoë", "Zoë's phone", []string{"user"}, plain, "local-open", plain.Add(time.Minute)},
				Role{"night-watch", []string{"guest", "night"}, nil}, text(t, night), "Küche \"<&>\"\u2028", 1, 1, 5, 5, 1)
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		subject, ok := s.Lookup(fingerprint(1))
		if want := (Subject{"Zoë", "night-watch", "Zoë's phone", added.UTC(), "local-open", added.UTC().Add(time.Minute)}); !ok || subject != want {
			t.Errorf("%+v, %t", subject, ok)
		}
		s = reopen(t, s)
	}
}

func TestUpdateRefuses(t *testing.T) {
	s := newStore(t)
	admin := pair(t, s, "alice", RoleAdmin, 1)
	pair(t, s, "bob", RoleGuest, 2)
	var tooMany []string
	for i := range MaxAttached + 1 {
		tooMany = append(tooMany, fmt.Sprintf("p%d", i))
	}
	for _, c := range []struct {
		name string
		fn   func(*Tx) error
		want error // nil: any *Mistake
	}{
		{"user twice", func(tx *Tx) error { return tx.AddUser(User{Name: "bob", Role: RoleUser}) }, latchkey.ErrConflict},
		{"user in another case", func(tx *Tx) error { return tx.AddUser(User{Name: "BOB", Role: RoleUser}) }, latchkey.ErrConflict},
		{"user with a bad name", func(tx *Tx) error { return tx.AddUser(User{Name: "../bob", Role: RoleUser}) }, nil},
		{"user of an unknown role", func(tx *Tx) error { return tx.AddUser(User{Name: "carol", Role: "nobody"}) }, latchkey.ErrNotFound},
		{"user without a role", func(tx *Tx) error { return tx.AddUser(User{Name: "carol"}) }, latchkey.ErrNotFound},
		{"user as a stranger", func(tx *Tx) error { return tx.AddUser(User{Name: "carol", Role: RoleUnpaired}) }, nil},
		{"user of an unknown policy", func(tx *Tx) error {
			return tx.AddUser(User{Name: "carol", Role: RoleUser, Policies: []string{"x"}})
		}, latchkey.ErrNotFound},
		{"user with too many policies", func(tx *Tx) error {
			return tx.AddUser(User{Name: "carol", Role: RoleUser, Policies: tooMany})
		}, latchkey.ErrTooMany},
		{"user in the year 10000", func(tx *Tx) error {
			return tx.AddUser(User{Name: "carol", Role: RoleUser, Expires: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)})
		}, nil},
		{"key twice", func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(2), User: "alice"}) }, latchkey.ErrConflict},
		{"key without a fingerprint", func(tx *Tx) error { return tx.AddKey(Key{User: "bob"}) }, nil},
		{"key of nobody", func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(9)}) }, latchkey.ErrNotFound},
		{"key of an unknown user", func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(9), User: "carol"}) }, latchkey.ErrNotFound},
		{"key of a user in another case", func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(9), User: "Bob"}) }, latchkey.ErrNotFound},
		{"key with a line break", func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(9), User: "bob", Name: "a\nb"}) }, nil},
		{"key with a long name", func(tx *Tx) error {
			return tx.AddKey(Key{Fingerprint: fingerprint(9), User: "bob", Name: strings.Repeat("x", 65)})
		}, nil},
		{"key with a bad origin", func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(9), User: "bob", Origin: "The Web"}) }, nil},
		{"too many keys of one user", func(tx *Tx) error {
			for i := range MaxKeysPerUser {
				if err := tx.AddKey(Key{Fingerprint: fingerprint(100 + i), User: "bob"}); err != nil {
					return err
				}
			}
			return nil
		}, latchkey.ErrTooMany},
		{"change of an unknown user", func(tx *Tx) error { return tx.SetUser(User{Name: "carol", Role: RoleUser}) }, latchkey.ErrNotFound},
		{"change of an unknown key", func(tx *Tx) error { return tx.SetKey(Key{Fingerprint: fingerprint(9), User: "bob"}) }, latchkey.ErrNotFound},
		{"role for an unknown user", func(tx *Tx) error { return tx.SetRole("carol", RoleUser) }, latchkey.ErrNotFound},
		{"unknown role", func(tx *Tx) error { return tx.SetRole("bob", "king") }, latchkey.ErrNotFound},
		{"removal of an unknown user", func(tx *Tx) error { return tx.RemoveUser("carol") }, latchkey.ErrNotFound},
		{"removal of an unknown key", func(tx *Tx) error { return tx.RemoveKey(fingerprint(9)) }, latchkey.ErrNotFound},
		{"removal of an unknown role", func(tx *Tx) error { return tx.RemoveRole("king") }, latchkey.ErrNotFound},
		{"removal of a role in use", func(tx *Tx) error {
			return errors.Join(tx.PutRole(Role{Name: "king"}), tx.SetRole("bob", "king"), tx.RemoveRole("king"))
		}, latchkey.ErrConflict},
		{"removal of a built-in role", func(tx *Tx) error { return tx.RemoveRole(RoleUnpaired) }, latchkey.ErrConflict},
		{"removal of an unknown policy", func(tx *Tx) error { return tx.RemovePolicy("x") }, latchkey.ErrNotFound},
		{"removal of a policy in use", func(tx *Tx) error { return tx.RemovePolicy(RoleGuest) }, latchkey.ErrConflict},
		{"role with a bad name", func(tx *Tx) error { return tx.PutRole(Role{Name: "The King"}) }, nil},
		{"role with a policy twice", func(tx *Tx) error {
			return tx.PutRole(Role{Name: "king", Policies: []string{RoleUser, RoleUser}})
		}, latchkey.ErrConflict},
		{"role with an unknown policy", func(tx *Tx) error { return tx.PutRole(Role{Name: "king", Policies: []string{"x"}}) }, latchkey.ErrNotFound},
		{"no policy", func(tx *Tx) error { return tx.PutPolicy(nil) }, nil},
		{"an empty policy", func(tx *Tx) error { return tx.PutPolicy(&Policy{}) }, nil},
		{"setting with a bad name", func(tx *Tx) error { return tx.SetSetting("a b", "") }, nil},
		{"setting too long", func(tx *Tx) error { return tx.SetSetting("a", strings.Repeat("x", MaxSetting+1)) }, nil},
		{"setting that is no text", func(tx *Tx) error { return tx.SetSetting("a", "\xff") }, nil},
		{"last admin removed", func(tx *Tx) error { return tx.RemoveUser("alice") }, ErrLastAdmin},
		{"last admin's key removed", func(tx *Tx) error { return tx.RemoveKey(admin) }, ErrLastAdmin},
		{"last admin demoted", func(tx *Tx) error { return tx.SetRole("alice", RoleUser) }, ErrLastAdmin},
		{"last admin's key given away", func(tx *Tx) error { return tx.SetKey(Key{Fingerprint: admin, User: "bob"}) }, ErrLastAdmin},
		{"last admin replaced by one without a key", func(tx *Tx) error {
			return errors.Join(tx.AddUser(User{Name: "carol", Role: RoleAdmin}), tx.RemoveUser("alice"))
		}, ErrLastAdmin},
		{"the function's own error", func(tx *Tx) error {
			return errors.Join(tx.RemoveUser("bob"), fs.ErrInvalid)
		}, fs.ErrInvalid},
	} {
		before := s.now.Load()
		err := s.Update(c.fn)
		var m *Mistake
		if err == nil || c.want != nil && !errors.Is(err, c.want) || c.want == nil && !errors.As(err, &m) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if s.now.Load() != before {
			t.Errorf("%s: the state was changed", c.name)
		}
	}
	before := s.vault.Records()
	s = reopen(t, s)
	if got := s.vault.Records(); !maps.Equal(got, before) || generation(t, s) != 2 {
		t.Errorf("the file has %d records of generation %d, want %d of 2", len(got), generation(t, s), len(before))
	}
}

func TestLastAdmin(t *testing.T) {
	s := newStore(t)
	pair(t, s, "alice", RoleAdmin, 1)
	update(t, s, func(tx *Tx) error { // another takes over
		return errors.Join(
			tx.AddUser(User{Name: "bob", Role: RoleAdmin}), tx.AddKey(Key{Fingerprint: fingerprint(2), User: "bob"}),
			tx.RemoveUser("alice"))
	})
	if err := s.Update(func(tx *Tx) error { return tx.RemoveUser("bob") }); !errors.Is(err, ErrLastAdmin) {
		t.Fatal(err)
	}
	update(t, s, func(tx *Tx) error { tx.Force(); return tx.RemoveUser("bob") })
	if _, ok := s.Lookup(fingerprint(2)); ok {
		t.Error("bob is still there")
	}
	update(t, s, func(tx *Tx) error { return tx.AddUser(User{Name: "carol", Role: RoleGuest}) }) // there is none to lose
	if _, ok := s.Lookup(fingerprint(1)); ok {
		t.Error("alice's key outlived her")
	}
}

// A Tx is good only inside its function, and only Update's can change.
func TestTxEnds(t *testing.T) {
	s := newStore(t)
	var kept *Tx
	if err := s.View(func(tx *Tx) error { kept = tx; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := kept.AddUser(User{Name: "eve", Role: RoleAdmin}); !errors.Is(err, errReadOnly) {
		t.Errorf("View: %v", err)
	}
	update(t, s, func(tx *Tx) error { kept = tx; return tx.SetSetting("a", "b") })
	if err := kept.AddUser(User{Name: "eve", Role: RoleAdmin}); !errors.Is(err, errReadOnly) {
		t.Errorf("after Update: %v", err)
	}
	if err := kept.RemoveSetting("a"); !errors.Is(err, errReadOnly) {
		t.Errorf("after Update: %v", err)
	}
	if err := s.View(func(tx *Tx) error {
		if len(tx.Users()) != 0 {
			t.Error("eve is there")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// What a Tx returns is a copy, and what it is given is copied.
func TestTxCopies(t *testing.T) {
	s := newStore(t)
	mine := []string{"guest"}
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.AddUser(User{Name: "bob", Role: RoleGuest, Policies: mine}),
			tx.AddKey(Key{Fingerprint: fingerprint(1), User: "bob", Policies: mine}),
			tx.PutRole(Role{Name: "r", Policies: mine}))
	})
	mine[0] = "admin"
	check := func() {
		t.Helper()
		if err := s.View(func(tx *Tx) error {
			u, _ := tx.User("bob")
			k, _ := tx.Key(fingerprint(1))
			r, _ := tx.Role("r")
			for _, list := range [][]string{u.Policies, k.Policies, r.Policies, tx.Users()[0].Policies, tx.Keys("bob")[0].Policies} {
				if list[0] != "guest" {
					t.Error("changed from outside")
				}
				list[0] = "admin"
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	check()
	check()
}

func TestUpdatePanic(t *testing.T) {
	s := newStore(t)
	func() {
		defer func() { _ = recover() }()
		_ = s.Update(func(tx *Tx) error {
			_ = tx.AddUser(User{Name: "eve", Role: RoleAdmin})
			panic("in the middle")
		})
	}()
	pair(t, s, "bob", RoleGuest, 1) // the store still works
	s = reopen(t, s)
	if err := s.View(func(tx *Tx) error {
		if got := tx.Users(); len(got) != 1 || got[0].Name != "bob" {
			t.Errorf("users: %v", got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestChanged(t *testing.T) {
	s := newStore(t)
	closed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	first := s.Changed()
	_ = s.Update(func(*Tx) error { return fs.ErrInvalid })
	update(t, s, func(*Tx) error { return nil })
	if closed(first) {
		t.Error("nothing changed, and the channel is closed")
	}
	update(t, s, func(tx *Tx) error { return tx.SetSetting("a", "1") })
	if !closed(first) {
		t.Error("a change, and the channel is open")
	}
	second := s.Changed()
	if closed(second) {
		t.Error("the new channel is closed already")
	}
	s.Close()
	if !closed(second) {
		t.Error("Close is a change too")
	}
}

func TestClose(t *testing.T) {
	s := newStore(t)
	fp := pair(t, s, "alice", RoleAdmin, 1)
	r := &Request{Peer: fp, Action: CoAPGet, Resource: "/x"}
	if err := s.Authorize(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Authorize(t.Context(), r); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("a closed store says %v", err)
	}
	if d := s.Explain(&Request{Role: RoleAdmin, Action: CoAPGet, Resource: "/x"}); d.Effect == Allow {
		t.Error("a closed store allows a role")
	}
	if _, ok := s.Lookup(fp); ok {
		t.Error("a closed store knows somebody")
	}
	if err := s.View(func(*Tx) error { return nil }); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("View: %v", err)
	}
	if err := s.Update(func(*Tx) error { return nil }); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Update: %v", err)
	}
	if err := s.Err(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Err: %v", err)
	}
}

func TestLimits(t *testing.T) {
	s := newStore(t)
	update(t, s, func(tx *Tx) error {
		for i := range MaxUsers {
			if err := tx.AddUser(User{Name: fmt.Sprintf("u%d", i), Role: RoleGuest}); err != nil {
				return err
			}
		}
		for i := range MaxKeys {
			if err := tx.AddKey(Key{Fingerprint: fingerprint(i), User: fmt.Sprintf("u%d", i%MaxUsers)}); err != nil {
				return err
			}
		}
		return nil
	})
	for name, fn := range map[string]func(*Tx) error{
		"users": func(tx *Tx) error { return tx.AddUser(User{Name: "more", Role: RoleGuest}) },
		"keys":  func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(MaxKeys), User: "u0"}) },
		"roles": func(tx *Tx) error {
			for i := range MaxRoles {
				if err := tx.PutRole(Role{Name: fmt.Sprintf("r%d", i)}); err != nil {
					return err
				}
			}
			return nil
		},
		"settings": func(tx *Tx) error {
			for i := range MaxSettings + 1 {
				if err := tx.SetSetting(fmt.Sprintf("s%d", i), ""); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		if err := s.Update(fn); !errors.Is(err, latchkey.ErrTooMany) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s = reopen(t, s)
	if _, ok := s.Lookup(fingerprint(MaxKeys - 1)); !ok {
		t.Error("the last key is not there")
	}
	info, err := os.Stat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d users and %d keys take %d KiB", MaxUsers, MaxKeys, info.Size()>>10)
}

// BenchmarkUpdateLargest changes a store that is as large as it may be.
func BenchmarkUpdateLargest(b *testing.B) {
	s := newStore(b)
	update(b, s, func(tx *Tx) error {
		for i := range MaxUsers {
			if err := tx.AddUser(User{Name: fmt.Sprintf("u%d", i), Role: RoleGuest}); err != nil {
				return err
			}
		}
		for i := range MaxKeys {
			if err := tx.AddKey(Key{Fingerprint: fingerprint(i), User: fmt.Sprintf("u%d", i%MaxUsers)}); err != nil {
				return err
			}
		}
		return nil
	})
	for i := 0; b.Loop(); i++ {
		update(b, s, func(tx *Tx) error { return tx.SetSetting("a", fmt.Sprint(i)) })
	}
}
