//go:build lab && linux

package acl

import (
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

// changeOnce lets carl in and throws bob out, and says what Update answered. It
// stays on one thread, because strace counts calls by thread.
func changeOnce(path string) error {
	runtime.LockOSThread()
	s, err := Open(path)
	if err != nil {
		return err
	}
	fmt.Println("opened")
	err = s.Update(func(tx *Tx) error {
		return errors.Join(tx.RemoveUser("bob"), tx.AddUser(User{Name: "carl", Role: RoleUser}),
			tx.AddKey(Key{Fingerprint: fingerprint(3), User: "carl"}))
	})
	_, carl := s.Lookup(fingerprint(3))
	_, bob := s.Lookup(fingerprint(2))
	fmt.Println(err == nil, carl, bob)
	return nil
}

// TestFailingCalls makes the n-th write or sync of a process fail, for every n
// until none is left, once and for good. What Update answered is what is in the
// file afterwards, and bob is out in any case.
func TestFailingCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal(err)
	}
	injected := 0
	for _, call := range []string{"pwrite64", "fdatasync", "fsync", "ftruncate"} {
		for _, fault := range []string{"EIO", "ENOSPC"} {
			for n := 1; n < 50; n++ {
				if !failCall(t, strace, call, fault, strconv.Itoa(n)) {
					break
				}
				injected++
			}
			failCall(t, strace, call, fault, "1+") // and all that follow
		}
	}
	if injected < 12 {
		t.Errorf("only %d calls were made to fail", injected)
	}
	t.Logf("%d calls were made to fail", injected)
}

// failCall reports whether the call that was to fail was made at all.
func failCall(t *testing.T, strace, call, fault, when string) bool {
	t.Helper()
	s, _ := scene(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	cmd := child(t, "change", s.path)
	inject := fmt.Sprintf("inject=%s:error=%s:when=%s", call, fault, when)
	cmd.Args = append([]string{strace, "-f", "-qq", "-o", log, "-e", "trace=" + call, "-e", inject, os.Args[0]}, cmd.Args[1:]...)
	cmd.Path = strace
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", inject, err)
	}
	trace, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	answer := strings.Fields(strings.TrimPrefix(string(out), "opened\n"))
	again, err := Open(s.path)
	if err != nil {
		t.Fatalf("%s: the file does not open: %v", inject, err)
	}
	defer again.Close()
	_, carl := again.Lookup(fingerprint(3))
	_, bob := again.Lookup(fingerprint(2))
	got := fmt.Sprint(answer, carl, bob)
	switch got {
	case "[true true false] true false": // done, and it is
	case "[false false false] false true": // refused, and it is; bob was held
	default:
		// Where every later call fails too, nobody can know.
		if !strings.HasSuffix(when, "+") || !strings.HasPrefix(got, "[false false false]") {
			t.Errorf("%s: %s", inject, got)
		}
	}
	return strings.Contains(string(trace), "(INJECTED)")
}
