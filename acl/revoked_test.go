package acl

import (
	"bytes"
	"errors"
	"testing"
)

// remembered returns how many of the keys from..to-1 the list of removed ones has.
func remembered(t *testing.T, s *Store, from, to int) (n int) {
	t.Helper()
	view(t, s, func(tx *Tx) {
		for i := from; i < to; i++ {
			if _, ok := tx.Revoked(fingerprint(i)); ok {
				n++
			}
		}
	})
	return n
}

// A guest who adds and removes keys of its own makes the device forget none but
// those.
func TestRevokedShares(t *testing.T) {
	s := newStore(t)
	pair(t, s, "anna", RoleAdmin, 1)
	for i, user := range []string{"bob", "carl"} {
		pair(t, s, user, RoleGuest, 2+i)
	}
	removeAs := func(by, user string, n int) {
		t.Helper()
		update(t, s, func(tx *Tx) error {
			tx.By(by)
			return errors.Join(tx.AddKey(Key{Fingerprint: fingerprint(n), User: user}), tx.RemoveKey(fingerprint(n)))
		})
	}
	removeAs("anna", "bob", 100)
	removeAs("", "bob", 101)
	for i := range 5 {
		removeAs("carl", "carl", 200+i)
	}
	const many = 3 * MaxRevokedOwn
	for i := range many {
		removeAs("bob", "bob", 1000+i)
	}
	s = reopen(t, s)
	if remembered(t, s, 100, 102) != 2 || remembered(t, s, 200, 205) != 5 {
		t.Error("a user's own changes made the device forget others'")
	}
	if all, last := remembered(t, s, 1000, 1000+many), remembered(t, s, 1000+many-MaxRevokedOwn, 1000+many); all != MaxRevokedOwn || last != all {
		t.Errorf("%d are remembered, %d of the last ones", all, last)
	}
	// Another name is no further share.
	update(t, s, func(tx *Tx) error { tx.By("bob"); return tx.RenameUser("bob", "bert") })
	for i := range many {
		removeAs("bert", "bert", 2000+i)
	}
	if old := remembered(t, s, 1000, 1000+many); old != 0 || remembered(t, s, 2000, 2000+many) != MaxRevokedOwn {
		t.Errorf("%d are remembered from before the new name", old)
	}
	// Nor do all users together: where the list is full, theirs go first.
	update(t, s, func(tx *Tx) error {
		for i := range MaxRevoked - 10 {
			if err := tx.revoke(fingerprint(10_000+i), "dora"); err != nil {
				return err
			}
		}
		return nil
	})
	if remembered(t, s, 100, 102) != 2 || remembered(t, s, 10_000, 30_000) != MaxRevoked-10 {
		t.Error("what others removed gave way")
	}
	if n := remembered(t, s, 200, 205) + remembered(t, s, 2000, 2000+many); n != 8 || remembered(t, s, 200, 205) != 0 {
		t.Errorf("%d are left, which users removed themselves", n)
	}
	if n := len(reopen(t, s).now.Load().revoked); n != MaxRevoked {
		t.Errorf("%d keys are remembered", n)
	}
}

// A backup from before a reset brings no former owner back. Who is added by hand
// is there again.
func TestResetRevokes(t *testing.T) {
	s := newStore(t)
	pair(t, s, "anna", RoleAdmin, 1)
	pair(t, s, "bob", RoleGuest, 2)
	var saved bytes.Buffer
	if err := s.Backup(&saved); err != nil {
		t.Fatal(err)
	}
	update(t, s, func(tx *Tx) error { return tx.Reset() })
	if remembered(t, s, 1, 3) != 2 {
		t.Error("a reset forgets the keys that it removes")
	}
	pair(t, s, "eve", RoleAdmin, 3)
	update(t, s, func(tx *Tx) error { tx.Force(); return tx.RemoveUser("eve") })
	done, err := s.Restore(&saved)
	if err != nil || len(done.Revoked) != 2 || done.Keys != 0 || done.Users != 2 {
		t.Errorf("%+v, %v", done, err)
	}
	for i := 1; i < 4; i++ {
		if _, ok := s.Lookup(fingerprint(i)); ok {
			t.Errorf("key %d is back", i)
		}
	}
	update(t, s, func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(1), User: "anna"}) })
	if !may(t, s, 1, UserList) || remembered(t, s, 1, 2) != 0 {
		t.Error("a key that was added again")
	}
}
