package station

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// initDir makes a basestation's directory, with room for a socket's path, that
// listens on loopback.
func initDir(t *testing.T) string {
	t.Helper()
	parent, err := os.MkdirTemp("", "lk")
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	dir := filepath.Join(parent, "b")
	_, err = Init(Setup{Dir: dir, Listen: "127.0.0.1:0"})
	check(t, err)
	return dir
}

// edit replaces text in the configuration of dir.
func edit(t *testing.T, dir, old, text string) {
	t.Helper()
	path := filepath.Join(dir, ConfigFile)
	was, err := os.ReadFile(path)
	check(t, err)
	if !strings.Contains(string(was), old) {
		t.Fatalf("%q is not in\n%s", old, was)
	}
	check(t, os.WriteFile(path, []byte(strings.Replace(string(was), old, text, 1)), 0o600))
}

func newKey(t *testing.T) latchkey.Fingerprint {
	t.Helper()
	id, err := latchkey.NewIdentity()
	check(t, err)
	return id.Fingerprint()
}

// A logBook is a log that a test can wait on.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(b)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until the log contains text.
func (l *logBook) await(t *testing.T, text string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for !strings.Contains(l.String(), text) {
		select {
		case <-l.more:
		case <-late:
			t.Fatalf("the log never said %q:\n%s", text, l)
		}
	}
}

// A running basestation of a test.
type running struct {
	ready  Ready
	log    *logBook
	level  *slog.LevelVar
	reload chan os.Signal
	stop   func() error
}

// start runs a basestation on dir until the test ends or stop is called.
func start(t *testing.T, dir string) *running {
	t.Helper()
	r := &running{
		log: &logBook{more: make(chan struct{}, 1)}, level: new(slog.LevelVar), reload: make(chan os.Signal, 1),
	}
	ready, ended := make(chan Ready, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	go func() {
		ended <- Run(ctx, Options{
			Dir: dir, Level: r.level, Reload: r.reload, Ready: func(v Ready) { ready <- v },
			Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: r.level})),
		})
	}()
	t.Cleanup(func() { _ = r.stop() })
	select {
	case r.ready = <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("the basestation ended: %v\n%s", err, r.log)
	case <-time.After(20 * time.Second):
		t.Fatalf("the basestation is not ready\n%s", r.log)
	}
	return r
}

// hup asks for a reload and waits for the log to tell how it went.
func (r *running) hup(t *testing.T, outcome string) {
	t.Helper()
	r.reload <- syscall.SIGHUP
	r.log.await(t, outcome)
}

// control opens the Control of dir for the length of the test.
func control(t *testing.T, dir string) *Control {
	t.Helper()
	c, err := OpenControl(t.Context(), dir)
	check(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wants fails unless err is an admin.Error that matches target and advises next.
func wants(t *testing.T, err, target error, next string) {
	t.Helper()
	var e *admin.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want an *admin.Error", err, err)
	}
	if target != nil && !errors.Is(err, target) {
		t.Errorf("error %v does not match %v", err, target)
	}
	if !strings.Contains(e.Next, next) {
		t.Errorf("next step %q does not contain %q", e.Next, next)
	}
}

// contents returns name, mode and content of every file in dir.
func contents(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		info, err := e.Info()
		check(t, err)
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		check(t, err)
		list = append(list, e.Name()+" "+info.Mode().String()+" "+string(text))
	}
	return list
}
