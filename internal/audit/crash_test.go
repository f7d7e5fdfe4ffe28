package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// crashConfig is of a log with its key and its anchor in files of dir.
func crashConfig(dir string) (Config, error) {
	id, err := latchkey.OpenOrCreateIdentity(filepath.Join(dir, "key.pem"))
	anchor := filepath.Join(dir, "anchor.json")
	return Config{
		Dir: dir, Identity: id, MaxFile: 4 * leastFile, Keep: 1000, // of which 500 rounds fill about half
		Anchor: func() (a Anchor) {
			text, err := os.ReadFile(anchor)
			if err == nil {
				err = json.Unmarshal(text, &a)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				panic(err)
			}
			return a
		},
		SetAnchor: func(a Anchor) error {
			text, _ := json.Marshal(a)
			return errors.Join(os.WriteFile(anchor+".new", text, 0o600), os.Rename(anchor+".new", anchor))
		},
	}, err
}

// recordForever records changes and refusals, and reports each change on
// standard output once Record has returned.
func recordForever(dir string) error {
	c, err := crashConfig(dir)
	if err != nil {
		return err
	}
	l, err := Open(c)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		change := acl.Event{Kind: acl.EventUser, Outcome: acl.OutcomeOK, Object: fmt.Sprintf("%d-%d", os.Getpid(), i)}
		l.Record(acl.Event{Kind: acl.EventAccess, Outcome: acl.OutcomeRefused, Object: change.Object})
		l.Record(change)
		fmt.Println(change.Object)
	}
}

// TestKill kills a process that records, again and again. What it had
// acknowledged is there, and the log is whole after the next start.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	acknowledged := make(map[string]bool)
	rounds := kills
	if testing.Short() {
		rounds = min(rounds, 100)
	}
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^$", dir)
		cmd.Env = append(os.Environ(), childMode+"=record")
		cmd.Stderr = os.Stderr
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		after := rand.IntN(60)
		lines := bufio.NewScanner(pipe)
		for n := 0; lines.Scan(); n++ {
			acknowledged[lines.Text()] = true
			if n == after {
				time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait() // killed
		c, err := crashConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := Verify(dir, c.Identity.Public(), c.Anchor()); err != nil {
			t.Fatalf("round %d, before the start: %v %+v", round, err, r)
		}
	}
	c, err := crashConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(dir, c.Identity.Public(), c.Anchor())
	if err != nil || r.Last != r.Anchored || r.Last != r.Sealed {
		t.Errorf("%v; %+v", err, r)
	}
	there := 0
	for r, err := range Read(dir, Filter{Kinds: []acl.EventKind{acl.EventUser}}) {
		if err != nil {
			t.Fatal(err)
		}
		if acknowledged[r.Object] {
			there++
		}
	}
	if there != len(acknowledged) || there == 0 {
		t.Errorf("%d of %d acknowledged records are there", there, len(acknowledged))
	}
	t.Logf("%d records acknowledged in %d processes; %+v", there, rounds, r)
}
