package acl

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/latchkey-dev/latchkey"
)

// Whatever byte of the file is damaged: the store comes back, the damaged file is
// kept, and of the removed keys either all are known or it is said that some are
// not.
func TestRebuildDamaged(t *testing.T) {
	first := newStore(t)
	removed := make([]latchkey.Fingerprint, 5)
	err := first.Update(func(tx *Tx) error {
		err := tx.AddUser(User{Name: "alice", Role: RoleAdmin})
		for i := range removed {
			removed[i] = fingerprint(i + 1)
			err = errors.Join(err, tx.AddKey(Key{Fingerprint: removed[i], User: "alice"}))
		}
		return errors.Join(err, tx.AddKey(Key{Fingerprint: fingerprint(99), User: "alice"}), tx.SetSetting("pairing.used", "yes"))
	})
	if err != nil {
		t.Fatal(err)
	}
	document := takeBackup(t, first)
	for _, fp := range removed {
		if err := first.Update(func(tx *Tx) error { return tx.RemoveKey(fp) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(first.SetAnchor(Anchor{Count: 7}), first.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(first.path)
	if err != nil {
		t.Fatal(err)
	}
	all, some := 0, 0
	for at := 0; at < len(data); at += 61 {
		damaged := bytes.Clone(data)
		damaged[at] ^= 1 << (at % 8)
		path := filepath.Join(t.TempDir(), "access.db")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		done, kept, err := Rebuild(path, bytes.NewReader(document), func(tx *Tx) error { return tx.SetSetting("local.also", "yes") })
		if errors.Is(err, fs.ErrExist) {
			continue // the byte counts for nothing
		}
		if err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
		if aside, err := os.ReadFile(kept.Aside); err != nil || !bytes.Equal(aside, damaged) {
			t.Fatalf("byte %d: %s is not what was there (%v)", at, kept.Aside, err)
		}
		if kept.Forgotten {
			some++
		} else if all++; kept.Removed != len(removed) {
			t.Errorf("byte %d: %d removed keys, and no word of others", at, kept.Removed)
		}
		if len(done.Revoked) != kept.Removed || done.Keys != 1+len(removed)-kept.Removed {
			t.Errorf("byte %d: %+v after %+v", at, done, kept)
		}
		checkRebuilt(t, path, kept)
	}
	if all == 0 || some == 0 {
		t.Errorf("%d with all, %d with some: the damage did not hit what counts", all, some)
	}
}

func checkRebuilt(t *testing.T, path string, kept Rebuilt) {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	view(t, s, func(tx *Tx) {
		if also, _ := tx.Setting("local.also"); also != "yes" || len(tx.state.revoked) != kept.Removed {
			t.Errorf("also %q, %d revoked of %d", also, len(tx.state.revoked), kept.Removed)
		}
	})
	if n := s.Anchor().Count; n != 7 && n != 0 {
		t.Errorf("anchor %d", n)
	}
}

func TestRebuildRefuses(t *testing.T) {
	s := settled(t)
	document := takeBackup(t, s)
	if _, _, err := Rebuild(s.path, bytes.NewReader(document), nil); !errors.Is(err, ErrInUse) {
		t.Errorf("in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(s.path)
	if _, _, err := Rebuild(s.path, bytes.NewReader(document), nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("whole: %v", err)
	}
	broken := before[:len(before)/2]
	if err := os.WriteFile(s.path, broken, 0o600); err != nil {
		t.Fatal(err)
	}
	failing := errors.New("no")
	for name, try := range map[string]func() error{
		"no backup": func() error { _, _, err := Rebuild(s.path, bytes.NewReader(document[1:]), nil); return err },
		"also": func() error {
			_, _, err := Rebuild(s.path, bytes.NewReader(document), func(*Tx) error { return failing })
			return err
		},
	} {
		if err := try(); !errors.Is(err, ErrBackup) && !errors.Is(err, failing) {
			t.Errorf("%s: %v", name, err)
		}
		after, _ := os.ReadFile(s.path)
		if list, _ := os.ReadDir(filepath.Dir(s.path)); !bytes.Equal(after, broken) || len(list) != 1 {
			t.Errorf("%s: something was changed: %v", name, list)
		}
	}
}
