//go:build lab

package e2e

import (
	"bufio"
	"context"
	"errors"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
)

// TestKillDuringPairing kills the daemon at a random moment of a pairing, many
// times. Afterwards the key is in the list or it is not, and what the client
// was told is true: a success means that it is.
func TestKillDuringPairing(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 25
	}
	bin := filepath.Join(t.TempDir(), "latchkeyd")
	run(t, "go", "build", "-o", bin, "github.com/latchkey-dev/latchkey/cmd/latchkeyd")
	told := map[string]int{}
	for range rounds {
		told[killOnce(t, bin)]++
	}
	t.Logf("%d rounds: %v", rounds, told)
	if told["paired"] == 0 || told["unknown"]+told["no session"] == 0 {
		t.Errorf("all kills fell on one side of the write: %v", told)
	}
}

func killOnce(t *testing.T, bin string) (told string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "d")
	run(t, bin, "init", "--dir", dir, "--listen", "127.0.0.1:0", "--pairing", "local-initial")
	daemon := exec.Command(bin, "run", "--dir", dir, "--json")
	stdout, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill := func() {
		if !killed {
			killed = true
			_ = daemon.Process.Kill()
			_ = daemon.Wait()
		}
	}
	defer kill()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("daemon said %q: %v", line, err)
	}
	u, err := latchkey.ParsePairingURL(strings.TrimSpace(run(t, bin, "pairing-url", "--dir", dir)))
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t)
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	outcome := make(chan error, 1)
	begun := time.Now()
	go func() {
		_, err := c.Pair(ctx, u, client.PairOptions{Alias: "home", User: "owner"})
		outcome <- err
	}()
	time.Sleep(rand.N(25*time.Millisecond) - time.Since(begun)) // the moment is the test's variable
	kill()
	select {
	case err = <-outcome:
	case <-time.After(2 * time.Second): // nobody will answer any more
		cancel()
		err = <-outcome
	}
	paired := inList(t, filepath.Join(dir, "access.db"), c)
	switch {
	case err == nil && !paired:
		t.Error("the client was told that it is paired, and it is not")
	case errors.Is(err, client.ErrPairingUnknown):
		return "unknown"
	case err == nil:
		return "paired"
	case paired:
		t.Errorf("the client was told %v, and it is paired", err)
	}
	return "no session"
}

// inList opens the store that the killed daemon left behind.
func inList(t *testing.T, path string, c *client.Client) bool {
	t.Helper()
	store, err := acl.Open(path)
	if err != nil {
		t.Fatalf("the store does not open: %v", err)
	}
	defer store.Close()
	id, err := c.OpenIdentity()
	if err != nil {
		t.Fatal(err)
	}
	_, known := store.Lookup(id.Fingerprint())
	return known
}
