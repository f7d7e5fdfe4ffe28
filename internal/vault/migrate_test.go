package vault

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
)

// nextKind is a kind whose second version has users in capitals and no bob.
func nextKind(version int) *Kind {
	kind := *testKind
	kind.Version = version
	kind.Migrate = func(from int, records map[ID]Record) (map[ID]Record, error) {
		if from != 1 {
			return nil, fmt.Errorf("a migration from version %d", from)
		}
		steps := make(map[ID]Record)
		for id, r := range records {
			if id.Bucket != usersBucket {
				continue
			}
			steps[id] = Seal(id, []byte(strings.ToUpper(string(r.Payload()))))
			if id.Key == "bob" {
				steps[id] = ""
			}
		}
		return steps, nil
	}
	return &kind
}

// oldVault is a file of version 1, and what becomes of its records.
func oldVault(t *testing.T) (path string, old, migrated map[ID]Record) {
	t.Helper()
	v := newVault(t)
	commit(t, v, usersBucket, "bob", "guest", keysBucket, "k", "anna")
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return v.path, v.Records(), changes(usersBucket, "anna", "ADMIN", keysBucket, "k", "anna")
}

// A file of an earlier version is brought forward once.
func TestMigrate(t *testing.T) {
	path, _, want := oldVault(t)
	for range 2 {
		var loaded map[ID]Record
		v, err := Open(path, nextKind(2), func(r map[ID]Record) error { loaded = maps.Clone(r); return nil })
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(v.Records(), want) || !maps.Equal(loaded, want) || v.Generation() != 2 {
			t.Errorf("generation %d: %v, and %v were loaded", v.Generation(), v.Records(), loaded)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(path, testKind, accept); !errors.Is(err, errNewer) {
		t.Errorf("the version before opens it: %v", err)
	}
	plain := nextKind(3) // a version that changes no record
	plain.Migrate = nil
	v, err := Open(path, plain, accept)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(v.Records(), want) {
		t.Errorf("%v", v.Records())
	}
	v.Close()
	if _, err := Open(path, nextKind(2), accept); !errors.Is(err, errNewer) {
		t.Errorf("the version before opens it: %v", err)
	}
}

// What cannot be brought forward, or is not wanted then, is left as it is.
func TestMigrateRefuses(t *testing.T) {
	path, old, _ := oldVault(t)
	failing := nextKind(2)
	failing.Migrate = func(int, map[ID]Record) (map[ID]Record, error) { return nil, errDisk }
	if _, err := Open(path, failing, accept); !errors.Is(err, errDisk) || !errors.Is(err, errDamaged) {
		t.Errorf("a migration that fails: %v", err)
	}
	if _, err := Open(path, nextKind(2), func(map[ID]Record) error { return errDisk }); !errors.Is(err, errDisk) {
		t.Errorf("records that are refused: %v", err)
	}
	for _, fault := range faults {
		path, old, migrated := oldVault(t)
		v, err := open(path, nextKind(2), accept, fault.commit)
		if (err == nil) != fault.written || err != nil && !strings.Contains(err.Error(), "from format 1 to 2") {
			t.Errorf("%s: %v", fault.name, err)
		}
		if err == nil {
			v.Close()
		} else if v, err = Open(path, testKind, accept); err != nil || !maps.Equal(v.Records(), old) {
			t.Errorf("%s: the file is not as it was: %v", fault.name, err)
		} else {
			v.Close()
		}
		if v, err = Open(path, nextKind(2), accept); err != nil || !maps.Equal(v.Records(), migrated) {
			t.Fatalf("%s: %v", fault.name, err)
		}
		v.Close()
	}
	// A disk that stays away: either version may be in the file, and both open.
	if _, err := open(path, nextKind(2), accept, func(f *file, changes map[ID]Record, next total) error {
		return errors.Join(f.commit(changes, next), errDisk, os.Chmod(path, 0o644))
	}); !errors.Is(err, errLoose) {
		t.Errorf("%v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := Open(path, nextKind(2), accept)
	if err != nil || v.Generation() != 2 || len(v.Records()) != len(old)-1 {
		t.Errorf("%v", err)
	}
	v.Close()
}
