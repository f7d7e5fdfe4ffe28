package story

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait of a story.
const patience = 60 * time.Second

// A program runs beside the script.
type program struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has ended

	mu   sync.Mutex // guards said
	said bytes.Buffer
	more chan struct{}
}

// Write collects stdout and stderr.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
	return p.said.Write(b)
}

func (p *program) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

func spawn(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, -1)
	name := args[0]
	if old := stageOf(ts).programs[name]; old != nil && old.running() {
		ts.Fatalf("%s runs already", name)
	}
	p := &program{cmd: exec.Command(find(ts, args[1]), args[2:]...), ended: make(chan struct{}), more: make(chan struct{}, 1)}
	p.cmd.Dir = ts.MkAbs(".")
	p.cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"), "PATH="+ts.Getenv("PATH"))
	p.cmd.Stdout, p.cmd.Stderr = p, p
	ts.Check(p.cmd.Start())
	stageOf(ts).programs[name] = p
	go func() { // ends with the program, which Defer kills
		_ = p.cmd.Wait() // its code is asked for by ended
		close(p.ended)
	}()
	ts.Defer(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		ts.Logf("[%s said]\n%s", name, p)
	})
}

// find looks a program up in the story's own path.
func find(ts *testscript.TestScript, name string) string {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	ts.Fatalf("there is no program %s", name)
	return ""
}

func named(ts *testscript.TestScript, name string) *program {
	p := stageOf(ts).programs[name]
	if p == nil {
		ts.Fatalf("nothing was spawned as %s", name)
	}
	return p
}

func (p *program) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2)
	p, pattern := named(ts, args[0]), regexp.MustCompile(`(?m)`+args[1])
	late := time.After(patience)
	for {
		running := p.running() // before looking, so that its last words count
		if m := pattern.FindStringSubmatch(p.String()); m != nil {
			for i, group := range pattern.SubexpNames() {
				if group != "" {
					ts.Setenv(group, m[i])
				}
			}
			return
		}
		if !running {
			ts.Fatalf("%s ended without saying %s", args[0], args[1])
		}
		select {
		case <-p.more:
		case <-p.ended:
		case <-late:
			ts.Fatalf("%s never said %s", args[0], args[1])
		}
	}
}

func signal(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2)
	s, ok := map[string]os.Signal{
		"TERM": syscall.SIGTERM, "INT": os.Interrupt, "HUP": syscall.SIGHUP, "KILL": os.Kill,
	}[args[1]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[1])
	}
	ts.Check(named(ts, args[0]).cmd.Process.Signal(s))
}

func ended(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2)
	p := named(ts, args[0])
	select {
	case <-p.ended:
	case <-time.After(patience):
		ts.Fatalf("%s does not end", args[0])
	}
	if got := strconv.Itoa(p.cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("%s ended with code %s, want %s", args[0], got, args[1])
	}
}
