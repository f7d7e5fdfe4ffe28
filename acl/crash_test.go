package acl

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The n-th change of the process that is to be killed. Of each three, the first
// lets a user in and invites another, with a role and a policy made for it; the
// second lets the invited in, who uses up the invitation, and narrows the policy;
// the third removes the first one's key. Each also counts itself, in the same
// transaction.
func crashChange(tx *Tx, n int) error {
	err := tx.SetSetting("changes", strconv.Itoa(n+1))
	if n%3 == 2 {
		return errors.Join(err, tx.RemoveKey(fingerprint(n-2)))
	}
	user, invite := fmt.Sprintf("user-%d", n), testInviteID(n-n%3)
	err = errors.Join(err, tx.AddUser(User{Name: user, Role: RoleUser}), tx.AddKey(Key{Fingerprint: fingerprint(n), User: user, Name: "laptop"}))
	if n%3 == 1 {
		return errors.Join(err, tx.RemoveInvite(invite), crashPolicy(tx, n))
	}
	return errors.Join(err, crashPolicy(tx, n), tx.PutRole(Role{Name: "crash", Policies: []string{"crash"}, Includes: []string{RoleGuest}}),
		tx.PutInvite(Invite{ID: invite, User: "guest", Role: "crash"}))
}

// crashPolicy puts the policy that tells which change it is from.
func crashPolicy(tx *Tx, n int) error {
	p, err := NewPolicy("crash", Statement{Effect: Allow, Actions: []string{"coap:get"}, Resources: []string{"/" + strconv.Itoa(n)}})
	return errors.Join(err, tx.PutPolicy(p))
}

// crashModel returns the keys that are there after n changes.
func crashModel(n int) map[int]bool {
	keys := make(map[int]bool)
	for i := range n {
		if i%3 == 2 {
			delete(keys, i-2)
		} else {
			keys[i] = true
		}
	}
	return keys
}

func countChanges(s *Store) (n int, err error) {
	err = s.View(func(tx *Tx) error {
		text, ok := tx.Setting("changes")
		if !ok {
			return nil
		}
		n, err = strconv.Atoi(text)
		return err
	})
	return n, err
}

// commitForever makes one change after the other and reports each on standard
// output once Update has acknowledged it.
func commitForever(path string) error {
	s, err := Open(path)
	if err != nil {
		return err
	}
	n, err := countChanges(s)
	for ; err == nil; n++ {
		if err = s.Update(func(tx *Tx) error { return crashChange(tx, n) }); err == nil {
			err = s.SetAnchor(Anchor{Count: uint64(n + 1)})
		}
		if err == nil {
			_, err = fmt.Println(n + 1)
		}
	}
	return err
}

// createOnce says that it begins, and makes a new store.
func createOnce(path string) error {
	fmt.Println("begin")
	_, err := Create(path)
	return err
}

func child(t *testing.T, mode, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$", path)
	cmd.Env = append(os.Environ(), childMode+"="+mode)
	cmd.Stderr = os.Stderr
	return cmd
}

// TestKill kills a process in the middle of its changes, over and over on one
// file. The file always opens; what was acknowledged is there; what was not is
// there as a whole or not at all.
func TestKill(t *testing.T) {
	s := newStore(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	total, beyond := 0, 0
	rounds := kills
	if testing.Short() {
		rounds = min(rounds, 100)
	}
	for round := range rounds {
		acknowledged := total
		cmd := child(t, "commit", s.path)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wait := time.Duration(random.IntN(10_000)) * time.Microsecond
		after := total + 1 + random.IntN(5) // the changes to see before the clock starts
		lines := bufio.NewScanner(pipe)
		for lines.Scan() {
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatal(err)
			}
			acknowledged = n
			if n == after {
				time.AfterFunc(wait, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait() // it was killed
		if acknowledged < after {
			t.Fatalf("seed %d, round %d: the process ended by itself after %d changes", seed, round, acknowledged)
		}
		s, err := Open(s.path)
		if err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
		if total, err = countChanges(s); err != nil {
			t.Fatal(err)
		}
		if anchored := int(s.Anchor().Count); anchored < acknowledged || anchored > total {
			t.Errorf("seed %d, round %d: anchor %d, %d changes", seed, round, anchored, total)
		}
		if total != acknowledged && total != acknowledged+1 {
			t.Errorf("seed %d, round %d: %d changes are there, %d were acknowledged", seed, round, total, acknowledged)
		}
		beyond += total - acknowledged
		whole(t, s, total)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d changes in %d processes, %d of them there before they were acknowledged", total, rounds, beyond)
}

// whole fails the test unless s holds exactly what n changes leave behind.
func whole(t *testing.T, s *Store, n int) {
	t.Helper()
	want := crashModel(n)
	for i := range n + 2 {
		subject, ok := s.Lookup(fingerprint(i))
		if ok != want[i] || ok && (subject.User != fmt.Sprintf("user-%d", i) || subject.KeyName != "laptop") {
			t.Errorf("after %d changes: key %d: %+v, %t; want %t", n, i, subject, ok, want[i])
		}
	}
	now := s.now.Load()
	if len(now.keys) != len(want) || len(now.revoked) != n/3 {
		t.Errorf("after %d changes: %d keys, %d removed; want %d, %d", n, len(now.keys), len(now.revoked), len(want), n/3)
	}
	if n == 0 {
		return
	}
	if _, ok := now.invites[testInviteID(n-1)]; ok != (n%3 == 1) || len(now.invites) > 1 {
		t.Errorf("after %d changes: the invitation is there %t, of %d", n, ok, len(now.invites))
	}
	last := n - 1
	if last%3 == 2 {
		last-- // the third of three leaves the policy alone
	}
	for at, want := range map[int]Effect{last: Allow, last + 1: NoMatch, last - 1: NoMatch} {
		if d := s.Explain(&Request{Role: "crash", Action: CoAPGet, Resource: "/" + strconv.Itoa(at)}); d.Effect != want {
			t.Errorf("after %d changes: the policy about %d: %s", n, at, d.Reason)
		}
	}
}

// TestKillCreate kills a process while it makes a new file. There is no file
// then, or a whole one.
func TestKillCreate(t *testing.T) {
	random := rand.New(rand.NewPCG(rand.Uint64(), 0))
	dir := t.TempDir()
	made := 0
	for round := range createKills {
		path := filepath.Join(dir, strconv.Itoa(round), "access.db")
		cmd := child(t, "create", path)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(pipe).ReadString('\n'); line != "begin\n" {
			t.Fatal(line, err)
		}
		time.AfterFunc(time.Duration(random.IntN(15_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // killed, or done
		s, err := Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			s, err = Create(path) // the next start is the first one
		} else {
			made++
		}
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if got := held(s); strings.TrimSpace(got) != "" {
			t.Errorf("round %d: a new store holds %s", round, got)
		}
		s.Close()
	}
	t.Logf("%d of %d processes made the file before they were killed", made, createKills)
}
