package acl

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
	bolt "go.etcd.io/bbolt"
)

var errDisk = errors.New("input/output error")

// faults are the ways in which writing a change can end badly.
var faults = []struct {
	name    string
	written bool // is the change in the file afterwards
	commit  func(*file, map[recordID]record, *state) error
}{
	{"before anything is written", false, func(*file, map[recordID]record, *state) error { return errDisk }},
	{"inside the transaction", false, func(f *file, _ map[recordID]record, _ *state) error {
		return f.update(func(tx *bolt.Tx) error {
			return errors.Join(tx.DeleteBucket([]byte(usersBucket)), errDisk)
		})
	}},
	{"a panic inside the transaction", false, func(f *file, _ map[recordID]record, _ *state) error {
		return f.update(func(tx *bolt.Tx) error {
			_ = tx.DeleteBucket([]byte(usersBucket))
			panic(errDisk)
		})
	}},
	{"between the two transactions", true, func(f *file, changes map[recordID]record, next *state) error {
		err := f.db.Update(func(tx *bolt.Tx) error { return apply(tx, changes, next) })
		return errors.Join(err, errDisk)
	}},
	{"after everything is written", true, func(f *file, changes map[recordID]record, next *state) error {
		return errors.Join(f.commit(changes, next), errDisk)
	}},
	{"a panic after everything is written", true, func(f *file, changes map[recordID]record, next *state) error {
		return f.update(func(tx *bolt.Tx) error {
			tx.OnCommit(func() { panic(errDisk) })
			return apply(tx, changes, next)
		})
	}},
}

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
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			s, change := scene(t)
			s.commit = fault.commit
			changed := s.Changed()
			err := s.Update(change)
			s.commit = (*file).commit
			select {
			case <-changed: // a change or a held key
			default:
				t.Error("nobody was told")
			}
			if fault.written {
				if err != nil {
					t.Fatalf("the change is there, and Update returns %v", err)
				}
				knows(t, s, 1, 3)
				knows(t, reopen(t, s), 1, 3)
				return
			}
			if err == nil || !strings.Contains(err.Error(), errDisk.Error()) || !strings.Contains(err.Error(), "a restart would bring them back") {
				t.Fatalf("Update returns %v", err)
			}
			if s.Err() == nil {
				t.Error("Err has nothing to say")
			}
			knows(t, s, 1) // bob was to be thrown out
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
			knows(t, reopen(t, s), 1, 3)
		})
	}
}

// After a failed change and a restart, whoever was let in or thrown out by it is
// what Update said.
func TestUpdateFailsThenRestart(t *testing.T) {
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			s, change := scene(t)
			s.commit = fault.commit
			want := []int{1, 2}
			if s.Update(change) == nil {
				want = []int{1, 3}
			}
			knows(t, reopen(t, s), want...)
		})
	}
}

// The file cannot even be read back. What was answered holds: the change that
// was refused is taken back as soon as that is possible.
func TestUpdateFailsForLong(t *testing.T) {
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			s, change := scene(t)
			s.commit = func(f *file, changes map[recordID]record, next *state) error {
				return errors.Join(fault.commit(f, changes, next), os.Chmod(s.path, 0o644))
			}
			err := s.Update(change)
			s.commit = (*file).commit
			if err == nil || !strings.Contains(err.Error(), errDisk.Error()) || !errors.Is(err, ErrLoose) ||
				!strings.Contains(err.Error(), "unknown") {
				t.Fatalf("Update returns %v", err)
			}
			knows(t, s, 1)
			err = s.Update(func(tx *Tx) error { return tx.RemoveUser("bob") })
			if !errors.Is(err, ErrLoose) || s.Err() == nil {
				t.Fatalf("Update returns %v, Err %v", err, s.Err())
			}
			knows(t, s, 1)
			if err := os.Chmod(s.path, 0o600); err != nil {
				t.Fatal(err)
			}
			pair(t, s, "dora", RoleUser, 7)
			knows(t, s, 1, 7) // bob is held, carl was refused
			knows(t, reopen(t, s), 1, 2, 7)
		})
	}
}

// Somebody else touched the file while it was in use: decisions go on, changes
// are refused, and the file is left as it is.
func TestUpdateFindsDamage(t *testing.T) {
	for name, touch := range map[string]func(*testing.T, string) error{
		"flipped": func(t *testing.T, path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			live := livePages(t, data)
			data[live[2]*pageSize+headerSize] ^= 1
			return overwrite(path, data)
		},
		"emptied":   func(_ *testing.T, path string) error { return os.Truncate(path, 0) },
		"truncated": func(_ *testing.T, path string) error { return os.Truncate(path, 3*pageSize) },
		"removed":   func(_ *testing.T, path string) error { return os.Remove(path) },
		"replaced": func(_ *testing.T, path string) error {
			data, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path+".new", data, 0o600), os.Rename(path+".new", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, change := scene(t)
			if err := touch(t, s.path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(s.path)
			if err := s.Update(change); !errors.Is(err, ErrDamaged) && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Update returns %v", err)
			}
			if after, _ := os.ReadFile(s.path); string(after) != string(before) {
				t.Error("the file was changed")
			}
			knows(t, s, 1)
			s.file.broken = true // its pages are gone: let Close not look at them
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

// A fault on the mapped file ends the change, not the process.
func TestMappedFileVanishes(t *testing.T) {
	s, _ := scene(t)
	if err := os.Truncate(s.path, 0); err != nil {
		t.Fatal(err)
	}
	err := s.file.update(func(tx *bolt.Tx) error {
		return apply(tx, map[recordID]record{{usersBucket, "eve"}: "x"}, s.now.Load().state)
	})
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
	knows(t, s, 1, 2)
	if err := s.Update(func(tx *Tx) error { return tx.RemoveUser("bob") }); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
	knows(t, s, 1)
}

// A key that is put in again after a failed removal was meant to be.
func TestHeldKeyReturns(t *testing.T) {
	s, change := scene(t)
	s.commit = faults[0].commit
	if err := s.Update(change); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	s.commit = (*file).commit
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
	s.commit = func(f *file, changes map[recordID]record, next *state) error {
		select {
		case <-changed:
		default:
			t.Error("nobody was told")
		}
		knows(t, s, 1) // neither bob nor carl
		return f.commit(changes, next)
	}
	update(t, s, change)
	knows(t, s, 1, 3)
}
