//go:build lab && linux

package acl

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

func init() { children["change"] = changeOnce }

// childChange says which of the changes the child makes.
const childChange = "LATCHKEY_ACL_CHANGE"

// A faultChange is an operation of a store, and what tells whether it is in the
// file.
type faultChange struct {
	name string
	fn   func(*Store) error
	done func(*Tx) bool
}

// in makes an Update of a change.
func in(fn func(*Tx) error) func(*Store) error {
	return func(s *Store) error { return s.Update(fn) }
}

// faultChanges are all operations that write.
func faultChanges() []faultChange {
	user := func(name string) func(*Tx) bool { return func(tx *Tx) bool { _, ok := tx.User(name); return ok } }
	key := func(n int) func(*Tx) bool { return func(tx *Tx) bool { _, ok := tx.Key(fingerprint(n)); return ok } }
	not := func(is func(*Tx) bool) func(*Tx) bool { return func(tx *Tx) bool { return !is(tx) } }
	invite := func(tx *Tx) bool { _, ok := tx.Invite(oldInvite); return ok }
	setting := func(tx *Tx) bool { _, ok := tx.Setting("a"); return ok }
	return []faultChange{
		{"pair", in(func(tx *Tx) error {
			return errors.Join(tx.AddUser(User{Name: "carl", Role: RoleUser}), tx.AddKey(Key{Fingerprint: fingerprint(3), User: "carl"}))
		}), key(3)},
		{"pair by invitation", in(func(tx *Tx) error {
			return errors.Join(tx.RemoveInvite(oldInvite), tx.AddUser(User{Name: "carl", Role: RoleUser}), tx.AddKey(Key{Fingerprint: fingerprint(3), User: "carl"}))
		}), func(tx *Tx) bool { return user("carl")(tx) && key(3)(tx) && !invite(tx) }},
		{"remove user", in(func(tx *Tx) error { return tx.RemoveUser("bob") }), func(tx *Tx) bool {
			_, revoked := tx.Revoked(fingerprint(2))
			return !user("bob")(tx) && !key(2)(tx) && revoked
		}},
		{"remove key", in(func(tx *Tx) error { return tx.RemoveKey(fingerprint(2)) }), not(key(2))},
		{
			"set key", in(func(tx *Tx) error { return tx.SetKey(Key{Fingerprint: fingerprint(2), User: "bob", Name: "new"}) }),
			func(tx *Tx) bool { k, _ := tx.Key(fingerprint(2)); return k.Name == "new" },
		},
		{"rename", in(func(tx *Tx) error { return tx.RenameUser("bob", "bert") }), user("bert")},
		{
			"set role", in(func(tx *Tx) error { return tx.SetRole("bob", RoleGuest) }),
			func(tx *Tx) bool { u, _ := tx.User("bob"); return u.Role == RoleGuest },
		},
		{
			"put role", in(func(tx *Tx) error { return tx.PutRole(Role{Name: RoleUser, Includes: []string{RoleGuest}}) }),
			func(tx *Tx) bool { r, _ := tx.Role(RoleUser); return len(r.Includes) == 1 },
		},
		{"remove role", in(func(tx *Tx) error { return tx.RemoveRole("spare") }), func(tx *Tx) bool { _, ok := tx.Role("spare"); return !ok }},
		{"put policy", in(func(tx *Tx) error { return crashPolicy(tx, 1) }), func(tx *Tx) bool { _, ok := tx.Policy("crash"); return ok }},
		{"remove policy", in(func(tx *Tx) error { return tx.RemovePolicy("spare") }), func(tx *Tx) bool { _, ok := tx.Policy("spare"); return !ok }},
		{"put invitation", in(func(tx *Tx) error {
			tx.Quiet()
			return tx.PutInvite(Invite{ID: oldInvite, User: "carl", Role: RoleGuest, Failures: 1})
		}), func(tx *Tx) bool { i, _ := tx.Invite(oldInvite); return i.Failures == 1 }},
		{"remove invitation", in(func(tx *Tx) error { return tx.RemoveInvite(oldInvite) }), not(invite)},
		{"set setting", in(func(tx *Tx) error { return tx.SetSetting("a", "b") }), setting},
		{"remove setting", in(func(tx *Tx) error { return tx.RemoveSetting("spare") }), func(tx *Tx) bool { _, ok := tx.Setting("spare"); return !ok }},
		{"set anchor", func(s *Store) error { return s.SetAnchor(Anchor{Count: 5}) }, func(tx *Tx) bool { return tx.state.anchor.Count == 5 }},
		{"restore", func(s *Store) error {
			var b bytes.Buffer
			if err := s.Backup(&b); err != nil {
				return err
			}
			_, err := s.Restore(&b)
			return err
		}, not(invite)},
	}
}

// faultScene is the store that a change begins with.
func faultScene(t *testing.T) string {
	t.Helper()
	s, _ := scene(t)
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.PutInvite(Invite{ID: oldInvite, User: "carl", Role: RoleGuest}), tx.PutRole(Role{Name: "spare"}),
			tx.PutPolicy(rule(t, "spare", Allow, "*")), tx.SetSetting("spare", ""))
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return s.path
}

// changeOnce makes one change and says what was answered. It stays on one thread,
// because strace counts calls by thread.
func changeOnce(path string) error {
	runtime.LockOSThread()
	s, err := Open(path)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(os.Getenv(childChange))
	if err != nil {
		return err
	}
	fmt.Println(faultChanges()[n].fn(s) == nil)
	return nil
}

// TestFailingCalls makes the n-th write or sync of a process fail, for every n
// until none is left, once and for good, in every operation. What was answered is
// what is in the file afterwards, and the file opens.
func TestFailingCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal(err)
	}
	injected := 0
	for i, c := range faultChanges() {
		for _, call := range []string{"pwrite64", "fdatasync", "fsync", "ftruncate"} {
			for _, fault := range []string{"EIO", "ENOSPC"} {
				for n := 1; n < 50; n++ {
					if !failCall(t, strace, call, fault, strconv.Itoa(n), i) {
						break
					}
					injected++
				}
				failCall(t, strace, call, fault, "1+", i) // and all that follow
			}
		}
		if t.Failed() {
			t.Fatalf("%s: the others are not tried", c.name)
		}
	}
	if least := 12 * len(faultChanges()); injected < least {
		t.Errorf("only %d calls were made to fail, %d are the least", injected, least)
	}
	t.Logf("%d calls were made to fail in %d operations", injected, len(faultChanges()))
}

// failCall reports whether the call that was to fail was made at all.
func failCall(t *testing.T, strace, call, fault, when string, change int) bool {
	t.Helper()
	path, c := faultScene(t), faultChanges()[change]
	what := fmt.Sprintf("%s, %s:error=%s:when=%s", c.name, call, fault, when)
	out, injected := traced(t, strace, "change", path, change, call, fault, when)
	again, err := Open(path)
	if err != nil {
		t.Fatalf("%s: the file does not open: %v", what, err)
	}
	defer again.Close()
	var done bool
	view(t, again, func(tx *Tx) { done = c.done(tx) })
	// Where every later call fails too, nobody can know.
	if answer := strings.TrimSpace(out); answer != strconv.FormatBool(done) && (answer != "false" || !strings.HasSuffix(when, "+")) {
		t.Errorf("%s: answered %q, and in the file it is %t", what, answer, done)
	}
	return injected
}

// traced runs a child of which one call fails. It returns what it said, and
// whether that call was made.
func traced(t *testing.T, strace, mode, path string, change int, call, fault, when string) (out string, injected bool) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	cmd := child(t, mode, path)
	inject := fmt.Sprintf("inject=%s:error=%s:when=%s", call, fault, when)
	cmd.Args = append([]string{strace, "-f", "-qq", "-o", log, "-e", "trace=" + call, "-e", inject, os.Args[0]}, cmd.Args[1:]...)
	cmd.Path, cmd.Stderr = strace, nil
	cmd.Env = append(cmd.Env, childChange+"="+strconv.Itoa(change))
	text, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", inject, err)
	}
	trace, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), strings.Contains(string(trace), "(INJECTED)")
}

// TestFailingMigration does the same while a file of the first version is brought
// forward.
func TestFailingMigration(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal(err)
	}
	data, ok := oldFile(t, 1)
	if !ok {
		t.Fatal("the file is of another byte order")
	}
	injected := 0
	for _, call := range []string{"pwrite64", "fdatasync", "fsync", "ftruncate"} {
		for n := 1; n < 50; n++ {
			path := filepath.Join(t.TempDir(), "access.db")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, hit := traced(t, strace, "open", path, 0, call, "ENOSPC", strconv.Itoa(n))
			migratedV1(t, path)
			if !hit {
				break
			}
			injected++
		}
	}
	if injected < 6 {
		t.Errorf("only %d calls were made to fail", injected)
	}
	t.Logf("%d calls were made to fail", injected)
}
