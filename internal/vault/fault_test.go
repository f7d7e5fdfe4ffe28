package vault

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

var errDisk = errors.New("input/output error")

// faults are the ways in which writing a change can end badly.
var faults = []struct {
	name    string
	written bool // is the change in the file afterwards
	commit  func(*file, map[ID]Record, total) error
}{
	{"before anything is written", false, func(*file, map[ID]Record, total) error { return errDisk }},
	{"inside the transaction", false, func(f *file, _ map[ID]Record, _ total) error {
		return f.update(func(tx *bolt.Tx) error {
			return errors.Join(tx.DeleteBucket([]byte(usersBucket)), errDisk)
		})
	}},
	{"a panic inside the transaction", false, func(f *file, _ map[ID]Record, _ total) error {
		return f.update(func(tx *bolt.Tx) error {
			_ = tx.DeleteBucket([]byte(usersBucket))
			panic(errDisk)
		})
	}},
	{"between the two transactions", true, func(f *file, changes map[ID]Record, next total) error {
		err := f.db.Update(func(tx *bolt.Tx) error { return f.apply(tx, changes, next) })
		return errors.Join(err, errDisk)
	}},
	{"after everything is written", true, func(f *file, changes map[ID]Record, next total) error {
		return errors.Join(f.commit(changes, next), errDisk)
	}},
	{"a panic after everything is written", true, func(f *file, changes map[ID]Record, next total) error {
		return f.update(func(tx *bolt.Tx) error {
			tx.OnCommit(func() { panic(errDisk) })
			return f.apply(tx, changes, next)
		})
	}},
}

// scene is a vault with two users, and a change that replaces the second.
func scene(t *testing.T) (*Vault, map[ID]Record) {
	t.Helper()
	v := newVault(t)
	commit(t, v, usersBucket, "bob", "guest")
	return v, changes(usersBucket, "bob", "", usersBucket, "carl", "guest")
}

// holds demands that the vault says it holds these users, and no others.
func holds(t *testing.T, v *Vault, want ...string) {
	t.Helper()
	got := v.Records()
	for _, name := range want {
		if _, ok := got[ID{usersBucket, name}]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d users, want %v", len(got), want)
	}
}

// What Commit answered is what the file holds: at once, after another change, and
// after a restart.
func TestCommitFails(t *testing.T) {
	for _, fault := range faults {
		for _, restart := range []bool{false, true} {
			v, change := scene(t)
			v.commit = fault.commit
			err := v.Commit(change)
			v.commit = (*file).commit
			if (err == nil) != fault.written || err != nil && !strings.Contains(err.Error(), errDisk.Error()) {
				t.Errorf("%s: Commit returns %v", fault.name, err)
			}
			want := []string{"anna", "bob"}
			if fault.written {
				want = []string{"anna", "carl"}
			}
			holds(t, v, want...)
			if restart {
				v = reopen(t, v)
			}
			commit(t, v, usersBucket, "dora", "guest")
			holds(t, reopen(t, v), append(want, "dora")...)
		}
	}
}

// The file cannot even be read back. What was answered holds: the change that was
// refused is taken back as soon as that is possible.
func TestCommitFailsForLong(t *testing.T) {
	for _, fault := range faults {
		v, change := scene(t)
		v.commit = func(f *file, changes map[ID]Record, next total) error {
			return errors.Join(fault.commit(f, changes, next), os.Chmod(v.path, 0o644))
		}
		err := v.Commit(change)
		v.commit = (*file).commit
		if err == nil || !errors.Is(err, errLoose) || !strings.Contains(err.Error(), "unknown") {
			t.Errorf("%s: Commit returns %v", fault.name, err)
		}
		holds(t, v, "anna", "bob")
		if err := v.Commit(changes(usersBucket, "eve", "admin")); !errors.Is(err, errLoose) {
			t.Errorf("%s: Commit returns %v", fault.name, err)
		}
		if err := os.Chmod(v.path, 0o600); err != nil {
			t.Fatal(err)
		}
		commit(t, v, usersBucket, "dora", "guest")
		holds(t, reopen(t, v), "anna", "bob", "dora")
	}
}

// Somebody else touched the file while it was in use: changes are refused, and
// the file is left as it is.
func TestCommitFindsDamage(t *testing.T) {
	for name, touch := range map[string]func(*testing.T, string) error{
		"flipped": func(t *testing.T, path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			live := livePages(t, data)
			data[live[2]*pageSize+headerSize] ^= 1
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.Write(data)
			return errors.Join(err, f.Close())
		},
		"emptied":   func(_ *testing.T, path string) error { return os.Truncate(path, 0) },
		"truncated": func(_ *testing.T, path string) error { return os.Truncate(path, 3*pageSize) },
		"removed":   func(_ *testing.T, path string) error { return os.Remove(path) },
		"replaced": func(_ *testing.T, path string) error {
			data, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path+".new", data, 0o600), os.Rename(path+".new", path))
		},
	} {
		v, change := scene(t)
		if err := touch(t, v.path); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(v.path)
		if err := v.Commit(change); !errors.Is(err, errDamaged) && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: Commit returns %v", name, err)
		}
		if after, _ := os.ReadFile(v.path); !bytes.Equal(before, after) {
			t.Errorf("%s: the file was changed", name)
		}
		holds(t, v, "anna", "bob")
		v.file.broken = true // its pages are gone: let Close not look at them
	}
}

// A fault on the mapped file ends the change, not the process.
func TestMappedFileVanishes(t *testing.T) {
	v, change := scene(t)
	if err := os.Truncate(v.path, 0); err != nil {
		t.Fatal(err)
	}
	if err := v.file.commit(change, v.now.total); !errors.Is(err, errDamaged) {
		t.Errorf("%v", err)
	}
	if err := v.Commit(change); !errors.Is(err, errDamaged) {
		t.Errorf("%v", err)
	}
}

// With Recheck the whole file is read only when the last time is long ago; that
// it was replaced is seen always.
func TestRecheck(t *testing.T) {
	v, change := scene(t)
	kind := *testKind
	kind.Recheck = time.Hour
	v.kind = &kind
	v.refused = total{}
	v.now.total.generation++ // not what is in the file
	if err := v.Commit(change); err != nil {
		t.Errorf("before its time: %v", err)
	}
	v.now.total.generation++
	v.checked = v.checked.Add(-time.Hour)
	if err := v.Commit(changes(usersBucket, "dora", "guest")); !errors.Is(err, errDamaged) {
		t.Errorf("when it is time: %v", err)
	}
	v.now.total.generation--
	if err := os.Remove(v.path); err != nil {
		t.Fatal(err)
	}
	v.checked = time.Now()
	if err := v.Commit(changes(usersBucket, "dora", "guest")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
}

func TestClosed(t *testing.T) {
	v, change := scene(t)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if err := v.Commit(change); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// The total that is kept up to date change by change is that of the records.
func TestTotal(t *testing.T) {
	v, change := scene(t)
	for _, c := range []map[ID]Record{change, changes(keysBucket, "never there", ""), changes(usersBucket, "anna", "guest"), changes(usersBucket, "anna", "", usersBucket, "carl", "")} {
		if err := v.Commit(c); err != nil {
			t.Fatal(err)
		}
		want := sum(v.now.records)
		want.generation = v.now.total.generation
		if v.now.total != want {
			t.Errorf("the total is %+v, want %+v", v.now.total, want)
		}
	}
	if !maps.Equal(reopen(t, v).Records(), map[ID]Record{}) {
		t.Error("something is left")
	}
}
