package acl

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/latchkey-dev/latchkey"
)

// The letters of each alphabet stand at their places.
func TestAlikeTables(t *testing.T) {
	for _, table := range []string{alikeLatin, alikeCyrillic, alikeGreek} {
		if len([]rune(table)) != len(alikeLatin) {
			t.Errorf("%q", table)
		}
	}
}

// Names that look alike belong to one user, and stores that hold such names from
// before still open.
func TestAlikeNames(t *testing.T) {
	for _, c := range []struct {
		first, second string
		alike         bool
	}{
		{"coco", "сосо", true},
		{"сосо", "Coco", true},
		{"СОСО", "coco", true},
		{"TOM", "ΤΟΜ", true},
		{"КОТ", "ΚΟΤ", true},
		{"coco-1", "сосо-1", true},
		{"coco-1", "сосо-2", false},
		{"alice", "Алиса", false},
		{"Zoë", "zoe", false},
	} {
		path := filepath.Join(t.TempDir(), "access.db")
		s, err := Create(path)
		if err != nil {
			t.Fatal(err)
		}
		add := func(name string) error {
			return s.Update(func(tx *Tx) error { return tx.AddUser(User{Name: name, Role: RoleGuest}) })
		}
		if err := add(c.first); err != nil {
			t.Fatal(err)
		}
		if err := add(c.second); errors.Is(err, latchkey.ErrConflict) != c.alike || AlikeNames(c.first, c.second) != c.alike {
			t.Errorf("%q beside %q: %v", c.second, c.first, err)
		}
		if !c.alike {
			_ = s.Close()
			continue
		}
		err = s.Update(func(tx *Tx) error {
			if err := tx.AddUser(User{Name: "other", Role: RoleGuest}); err != nil {
				return err
			}
			if err := tx.RenameUser("other", c.second); !errors.Is(err, latchkey.ErrConflict) {
				t.Errorf("rename to %q beside %q: %v", c.second, c.first, err)
			}
			if foldName(c.first) == foldName(c.second) {
				return nil
			}
			return tx.putUser(User{Name: c.second, Role: RoleGuest}) // as a version without the rule did
		})
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(path); err != nil {
			t.Fatalf("with %q and %q: %v", c.first, c.second, err)
		}
		_ = s.Close()
	}
}
