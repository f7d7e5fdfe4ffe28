package acl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() { children["full"] = fillUp }

// fillUp adds users until the file may not grow any more. From then on nothing
// that was acknowledged is lost, nothing that was refused is there, and whoever
// is thrown out is out.
func fillUp(path string) error {
	const room = 96 << 10
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: room, Max: room}); err != nil {
		return err
	}
	s, err := Create(path)
	if err != nil {
		return err
	}
	n := 0
	add := func() error { return s.Update(func(tx *Tx) error { return crashAdd(tx, n) }) }
	for err = add(); err == nil; err = add() {
		n++
	}
	if !strings.Contains(err.Error(), syscall.EFBIG.Error()) || n < 30 {
		return fmt.Errorf("after %d users: %w", n, err)
	}
	if s.Err() == nil {
		return errors.New("Err has nothing to say")
	}
	if err := only(s, n, -1); err != nil {
		return err
	}
	removal := s.Update(func(tx *Tx) error { return tx.RemoveUser("user-7") })
	if err := only(s, n, 7); err != nil {
		return fmt.Errorf("after a removal that returned %w: %w", removal, err)
	}
	if err := narrowWhenFull(s); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = Open(path); err != nil {
		return err
	}
	if removal != nil {
		return only(s, n, -1)
	}
	return only(s, n, 7)
}

// narrowWhenFull takes rights away in every way, with so much beside that it
// cannot be written. Each holds at once, and the error says that a restart would
// undo it.
func narrowWhenFull(s *Store) error {
	deny, err := NewPolicy(RoleUser, Statement{Effect: Deny, Actions: []string{"*"}, Resources: []string{"**"}})
	if err != nil {
		return err
	}
	may := func(key int) bool {
		return s.Authorize(context.Background(), &Request{Peer: fingerprint(key), Action: CoAPPut, Resource: "/x", Time: time.Now()}) == nil
	}
	for i, fn := range []func(*Tx) error{
		func(tx *Tx) error { return tx.RemoveKey(fingerprint(10)) },
		func(tx *Tx) error { return tx.SetRole("user-11", RoleGuest) },
		func(tx *Tx) error {
			return tx.SetUser(User{Name: "user-12", Role: RoleUser, Expires: time.Unix(1e9, 0)})
		},
		func(tx *Tx) error {
			return tx.SetKey(Key{Fingerprint: fingerprint(13), User: "user-13", Expires: time.Unix(1e9, 0)})
		},
		func(tx *Tx) error { return tx.RemoveUser("user-14") },
		func(tx *Tx) error { return tx.PutPolicy(deny) }, // everybody's
	} {
		key := 10 + i
		if !may(key) {
			return fmt.Errorf("key %d may not to begin with", key)
		}
		err := s.Update(func(tx *Tx) error {
			for j := range 8 {
				if err := tx.SetSetting(fmt.Sprintf("ballast-%d", j), strings.Repeat("x", MaxSetting)); err != nil {
					return err
				}
			}
			return fn(tx)
		})
		if !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), "restart") {
			return fmt.Errorf("key %d: Update returns %w", key, err)
		}
		if may(key) {
			return fmt.Errorf("key %d still may", key)
		}
	}
	return nil
}

func crashAdd(tx *Tx, n int) error {
	user := fmt.Sprintf("user-%d", n)
	return errors.Join(tx.AddUser(User{Name: user, Role: RoleUser}), tx.AddKey(Key{Fingerprint: fingerprint(n), User: user}))
}

// only demands that s knows the first n keys but for one, and no others.
func only(s *Store, n, but int) error {
	for i := range n + 10 {
		if _, ok := s.Lookup(fingerprint(i)); ok != (i < n && i != but) {
			return fmt.Errorf("key %d of %d: known %t", i, n, ok)
		}
	}
	return nil
}

func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.db")
	if err := child(t, "full", path).Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
}
