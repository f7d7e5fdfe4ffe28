package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/e2e/story"
)

// A running is a program under watch.
type running struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out transcript
}

// launch runs a program.
func launch(t *testing.T, name string, args ...string) *running {
	t.Helper()
	r := &running{t: t, cmd: exec.CommandContext(t.Context(), name, args...)}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
	var err error
	if r.in, err = r.cmd.StdinPipe(); err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// seen is what everybody on the machine, or the same user, sees of a program
// that runs.
func (r *running) seen() []byte {
	r.t.Helper()
	var all []byte
	await(r.t, "a program has begun", func() bool { // both are empty for a moment
		all = nil
		for _, name := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", r.cmd.Process.Pid, name))
			if err != nil {
				r.t.Fatal(err)
			}
			if len(text) == 0 {
				return false
			}
			all = append(all, text...)
		}
		return true
	})
	return all
}

// ends waits for the end, after stdin got its last words.
func (r *running) ends(words string) (text string, err error) {
	_, _ = io.WriteString(r.in, words)
	_ = r.in.Close()
	err = r.cmd.Wait()
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	return r.out.text.String(), err
}

// TestCanariesOfProcesses gives secrets to the programs in every way that they
// offer, and looks at their arguments and environment while they run, and at what
// the daemon writes.
func TestCanariesOfProcesses(t *testing.T) {
	bin := story.Build(t, "github.com/latchkey-dev/latchkey/cmd/latchkey", "github.com/latchkey-dev/latchkey/cmd/latchkeyd")
	latchkeyd, client := filepath.Join(bin, "latchkeyd"), filepath.Join(bin, "latchkey")
	dir := filepath.Join(t.TempDir(), "d")
	must := func(r *running, words string) string {
		t.Helper()
		text, err := r.ends(words)
		if err != nil {
			t.Fatalf("%v: %v\n%s", r.cmd.Args, err, text)
		}
		return text
	}
	secrets := canaries{"password": "canary-correct-horse"}
	passwordFile := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(passwordFile, []byte(secrets["password"]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	must(launch(t, latchkeyd, "init", "--dir", dir, "--listen", "127.0.0.1:0", "--pairing", "invite"), "")
	config := filepath.Join(dir, "latchkeyd.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("discovery: true"), []byte("discovery: false"), 1)
	text = bytes.Replace(text, []byte("log_level: info"), []byte("log_level: debug"), 1)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := launch(t, latchkeyd, "run", "--dir", dir)
	stopped := sync.OnceFunc(func() {
		_ = daemon.cmd.Process.Signal(os.Interrupt)
		_, _ = daemon.ends("")
	})
	defer stopped()
	await(t, "the daemon is ready", func() bool { return daemon.out.has("ready") })

	invitation := strings.TrimSpace(must(launch(t, latchkeyd, "invite", "ida", "--dir", dir), ""))
	u, err := latchkey.ParsePairingURL(invitation)
	if err != nil {
		t.Fatal(err)
	}
	secrets["invitation's password"] = u.Password.Reveal()
	open := launch(t, latchkeyd, "pairing", "open", "password-open", "--password-file", passwordFile, "--dir", dir)
	watched := map[string][]byte{"latchkeyd run": daemon.seen(), "latchkeyd pairing open": open.seen()}
	must(open, "")

	pairs := launch(t, client, "pair", "--dir", filepath.Join(t.TempDir(), "c1"), "--as", "home", "-")
	watched["latchkey pair -"] = pairs.seen()
	must(pairs, invitation+"\n")
	byFile := launch(t, client, "pair", "--dir", filepath.Join(t.TempDir(), "c2"), "--as", "home", "--user", "gus", "--password-file", passwordFile, u.Addrs[0])
	watched["latchkey pair --password-file FILE"] = byFile.seen()
	must(byFile, "")
	byStdin := launch(t, client, "pair", "--dir", filepath.Join(t.TempDir(), "c3"), "--as", "home", "--user", "eve", "--password-file", "-", u.Addrs[0])
	watched["latchkey pair --password-file -"] = byStdin.seen()
	must(byStdin, secrets["password"]+"\n")

	secrets.plant(t)
	for name, text := range watched {
		secrets.absent(t, "the process "+name, text, 20)
	}
	// The same eyes see a secret that somebody gives away.
	careless := launch(t, client, "pair", "--dir", filepath.Join(t.TempDir(), "c4"), "--as", "home", invitation)
	if found := secrets.in(careless.seen()); len(found) != 1 {
		t.Errorf("a URL among the arguments: %v found", found)
	}
	_, _ = careless.ends("")

	stopped()
	daemon.out.mu.Lock()
	secrets.absent(t, "what the daemon writes", daemon.out.text.Bytes(), 1000)
	daemon.out.mu.Unlock()
	for _, name := range []string{"audit.jsonl", "access.db", "latchkeyd.yaml"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		secrets.absent(t, name, text, 100)
	}
}
