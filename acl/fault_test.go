package acl

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

var errDisk = errors.New("input/output error")

// refuse stands for a vault that cannot write. What can go wrong inside of one,
// step by step, is for its own tests.
func refuse(map[vault.ID]vault.Record) error { return errDisk }

// scene is a store with two users, and a change that lets a third in and throws
// the second out.
func scene(t *testing.T) (*Store, func(*Tx) error) {
	t.Helper()
	s := newStore(t)
	pair(t, s, "anna", RoleAdmin, 1)
	pair(t, s, "bob", RoleUser, 2)
	return s, func(tx *Tx) error {
		return errors.Join(
			tx.RemoveUser("bob"),
			tx.AddUser(User{Name: "carl", Role: RoleUser}),
			tx.AddKey(Key{Fingerprint: fingerprint(3), User: "carl"}))
	}
}

// knows fails the test unless the store knows exactly these keys.
func knows(t *testing.T, s *Store, want ...int) {
	t.Helper()
	wanted := make(map[int]bool)
	for _, n := range want {
		wanted[n] = true
	}
	for n := range 10 {
		_, found := s.Lookup(fingerprint(n))
		err := s.Authorize(t.Context(), &Request{Peer: fingerprint(n), Action: CoAPGet, Resource: "/x"})
		if found != wanted[n] || (err == nil) != wanted[n] {
			t.Errorf("key %d: known %t, %v; want %t", n, found, err, wanted[n])
		}
	}
}

func TestUpdateFails(t *testing.T) {
	s, change := scene(t)
	s.commit = refuse
	changed := s.Changed()
	err := s.Update(change)
	s.commit = s.vault.Commit
	select {
	case <-changed: // a held key
	default:
		t.Error("nobody was told")
	}
	if !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "a restart would undo") {
		t.Fatalf("Update returns %v", err)
	}
	if s.Err() == nil {
		t.Error("Err has nothing to say")
	}
	knows(t, s, 1) // bob was to be thrown out
	if generation(t, s) != 2 {
		t.Error("a change that failed was counted")
	}
	pair(t, s, "dora", RoleGuest, 7)
	if s.Err() != nil {
		t.Errorf("Err still says %v", s.Err())
	}
	if _, ok := s.Lookup(fingerprint(2)); ok {
		t.Error("another change let bob in again")
	}
	update(t, s, change)
	update(t, s, func(tx *Tx) error { return tx.RemoveUser("dora") })
	knows(t, s, 1, 3)
	want := generation(t, s)
	s = reopen(t, s)
	knows(t, s, 1, 3)
	if got := generation(t, s); got != want || got != 5 {
		t.Errorf("generation %d, and %d after a restart", want, got)
	}
}

func generation(t *testing.T, s *Store) (n uint64) {
	t.Helper()
	if err := s.View(func(tx *Tx) error { n = tx.Generation(); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// After a failed change and a restart, whoever was let in or thrown out by it is
// what Update said.
func TestUpdateFailsThenRestart(t *testing.T) {
	s, change := scene(t)
	s.commit = refuse
	if err := s.Update(change); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	knows(t, reopen(t, s), 1, 2)
}

// The file cannot be reached for a while. What was answered holds.
func TestUpdateFailsForLong(t *testing.T) {
	s, change := scene(t)
	if err := os.Rename(s.path, s.path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(change); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Update returns %v", err)
	}
	knows(t, s, 1)
	err := s.Update(func(tx *Tx) error { return tx.RemoveUser("bob") })
	if !errors.Is(err, fs.ErrNotExist) || s.Err() == nil {
		t.Fatalf("Update returns %v, Err %v", err, s.Err())
	}
	knows(t, s, 1)
	if err := os.Rename(s.path+".away", s.path); err != nil {
		t.Fatal(err)
	}
	pair(t, s, "dora", RoleUser, 7)
	knows(t, s, 1, 7) // bob is held, carl was refused
	knows(t, reopen(t, s), 1, 2, 7)
}

// Somebody else touched the file while it was in use: decisions go on, changes
// are refused, and the file is left as it is.
func TestUpdateFindsDamage(t *testing.T) {
	for name, touch := range map[string]func(path string) error{
		"changed": func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return overwrite(path, bytes.ReplaceAll(data, []byte(`"bob"`), []byte(`"eve"`)))
		},
		"emptied":   func(path string) error { return os.Truncate(path, 0) },
		"truncated": func(path string) error { return os.Truncate(path, 3*4096) },
		"removed":   os.Remove,
		"replaced": func(path string) error {
			data, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path+".new", data, 0o600), os.Rename(path+".new", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, change := scene(t)
			if err := touch(s.path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(s.path)
			if err := s.Update(change); !errors.Is(err, ErrDamaged) && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Update returns %v", err)
			}
			if after, _ := os.ReadFile(s.path); !bytes.Equal(after, before) {
				t.Error("the file was changed")
			}
			knows(t, s, 1)
		})
	}
}

// overwrite writes into the file that is there.
func overwrite(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// A key that is put in again after a failed removal was meant to be.
func TestHeldKeyReturns(t *testing.T) {
	s, change := scene(t)
	s.commit = refuse
	if err := s.Update(change); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	s.commit = s.vault.Commit
	err := s.Update(func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(2), User: "anna"}) })
	if !errors.Is(err, latchkey.ErrConflict) {
		t.Errorf("the key is still in the file: %v", err)
	}
	update(t, s, func(tx *Tx) error { return tx.RemoveKey(fingerprint(2)) })
	update(t, s, func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(2), User: "anna"}) })
	knows(t, s, 1, 2)
}

// A key that is removed is refused from before the change is written: however
// long the disk takes, whoever was thrown out is out.
func TestRemovalHoldsAtOnce(t *testing.T) {
	s, change := scene(t)
	changed := s.Changed()
	s.commit = func(changes map[vault.ID]vault.Record) error {
		select {
		case <-changed:
		default:
			t.Error("nobody was told")
		}
		knows(t, s, 1) // neither bob nor carl
		return s.vault.Commit(changes)
	}
	update(t, s, change)
	knows(t, s, 1, 3)
}
