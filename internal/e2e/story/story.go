package story

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// Run runs the stories in testdata. bin holds programs for them beside those of
// testscript.Main.
func Run(t *testing.T, bin string) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // many short programs; each would sleep a second
			env.Values[key{}] = &stage{programs: map[string]*program{}, files: map[string][]byte{}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"spawn": spawn, "await": await, "signal": signal, "ended": ended, "exits": exits,
			"serve": serve, "say": say, "sayudp": sayUDP, "fetch": fetch,
			"bytes": remember, "same": same, "edit": edit, "truncate": truncate,
		},
	})
}

// Build compiles programs of this module into a directory for Run.
func Build(t *testing.T, packages ...string) (bin string) {
	t.Helper()
	bin = t.TempDir()
	args := append([]string{"build", "-o", bin + string(filepath.Separator)}, packages...)
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

type key struct{}

// A stage is what one story has set up.
type stage struct {
	programs map[string]*program
	files    map[string][]byte
}

func stageOf(ts *testscript.TestScript) *stage { return ts.Value(key{}).(*stage) }

// need checks the number of arguments; -1 stands for any.
func need(ts *testscript.TestScript, neg bool, args []string, least, most int) {
	if neg {
		ts.Fatalf("! does not go with this command")
	}
	if len(args) < least || most >= 0 && len(args) > most {
		ts.Fatalf("wrong number of arguments: %q", args)
	}
}

// exits runs a program that must end with the given code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, -1)
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s ended with code %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func remember(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, 1)
	text, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	stageOf(ts).files[args[0]] = text
}

func same(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, 1)
	text, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	if was, ok := stageOf(ts).files[args[0]]; !ok || !bytes.Equal(was, text) {
		ts.Fatalf("%s changed", args[0])
	}
}

func edit(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 3, 3)
	path := ts.MkAbs(args[0])
	text, err := os.ReadFile(path)
	ts.Check(err)
	if !bytes.Contains(text, []byte(args[1])) {
		ts.Fatalf("%q is not in %s:\n%s", args[1], args[0], text)
	}
	ts.Check(os.WriteFile(path, bytes.Replace(text, []byte(args[1]), []byte(args[2]), 1), 0o600))
}

func truncate(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2)
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}
