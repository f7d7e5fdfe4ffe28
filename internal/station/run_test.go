package station

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/registry"
)

func TestInit(t *testing.T) {
	dir := initDir(t)
	for name, want := range map[string]os.FileMode{".": 0o700, basestation.KeyFile: 0o600, ConfigFile: 0o600, basestation.RegistryFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		check(t, err)
		if runtime.GOOS != "windows" && info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), want)
		}
	}
	before := contents(t, dir)
	_, err := Init(Setup{Dir: dir})
	wants(t, err, nil, "latchkey-basestation run")
	if !slices.Equal(before, contents(t, dir)) {
		t.Error("a second init changed a file")
	}
}

func TestInitMistakesLeaveNothing(t *testing.T) {
	for _, s := range []Setup{
		{Listen: "here"},
		{PublicAddrs: []string{"https://a.example"}},
		{Listen: ":0", PublicAddrs: []string{"203.0.113.5"}},
	} {
		s.Dir = filepath.Join(t.TempDir(), "b")
		if _, err := Init(s); err == nil || strings.Contains(err.Error(), ConfigFile+":") {
			t.Errorf("%+v: error %v", s, err)
		}
		if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%+v: %s is there", s, s.Dir)
		}
	}
}

func TestRunSaysWhereItListens(t *testing.T) {
	dir := initDir(t)
	r := start(t, dir)
	host, port, err := net.SplitHostPort(r.ready.Listen)
	if err != nil || host != "127.0.0.1" || port == "0" || r.ready.Fingerprint.IsZero() {
		t.Errorf("ready %+v (%v)", r.ready, err)
	}
	conn, err := net.Dial("tcp", r.ready.Listen)
	check(t, err)
	_ = conn.Close()
	check(t, r.stop())
	if _, err := os.Lstat(filepath.Join(dir, admin.SocketFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if st, err := control(t, dir).Status(t.Context()); err != nil || st.Running {
		t.Errorf("after the stop: %+v, %v", st, err)
	}
}

// TestSecond: it is told at once, and the first one does not notice.
func TestSecond(t *testing.T) {
	dir := initDir(t)
	start(t, dir)
	err := Run(t.Context(), Options{Dir: dir, Log: silent()})
	wants(t, err, nil, "latchkey-basestation status")
	if !strings.Contains(err.Error(), "another daemon (process ") {
		t.Errorf("error %v", err)
	}
	if _, err := control(t, dir).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRunRefuses: a directory that is not whole is refused and left as it is.
func TestRunRefuses(t *testing.T) {
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { check(t, os.Remove(filepath.Join(dir, name))) }
	}
	cut := func(n int64) func(*testing.T, string) {
		return func(t *testing.T, dir string) { check(t, os.Truncate(filepath.Join(dir, basestation.RegistryFile), n)) }
	}
	loose := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { check(t, os.Chmod(filepath.Join(dir, name), 0o644)) }
	}
	tests := []struct {
		name    string
		spoil   func(t *testing.T, dir string)
		want    error
		message string
		unix    bool
	}{
		{"no directory", func(t *testing.T, dir string) { check(t, os.RemoveAll(dir)) }, nil, "not set up", false},
		{"no key", remove(basestation.KeyFile), nil, "not set up", false},
		{"no registry", remove(basestation.RegistryFile), nil, "not set up", false},
		{"no configuration", remove(ConfigFile), nil, "not set up", false},
		{"unknown field", func(t *testing.T, dir string) { edit(t, dir, "log_level:", "log_lvl:") }, nil, ConfigFile + ":10:1: unknown field", false},
		{"truncated registry", cut(4096), registry.ErrDamaged, basestation.RegistryFile, false},
		{"empty registry", cut(0), registry.ErrDamaged, basestation.RegistryFile, false},
		{"loose key", loose(basestation.KeyFile), latchkey.ErrKeyFileMode, "chmod 600", true},
		{"loose registry", loose(basestation.RegistryFile), registry.ErrLoose, basestation.RegistryFile, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.unix && runtime.GOOS == "windows" {
				return // it has no modes
			}
			dir := initDir(t)
			test.spoil(t, dir)
			before := contents(t, dir)
			err := Run(t.Context(), Options{Dir: dir, Log: silent()})
			if err == nil || !strings.Contains(err.Error(), test.message) || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("error %v", err)
			}
			var hinted interface{ NextStep() string }
			if (!errors.As(err, &hinted) || hinted.NextStep() == "") && NextStep(err) == "" {
				t.Errorf("no next step after %v", err)
			}
			if after := contents(t, dir); !slices.Equal(before, after) {
				t.Error("a file was changed")
			}
		})
	}
}

func TestOccupiedPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	dir := initDir(t)
	edit(t, dir, "127.0.0.1:0", l.Addr().String())
	err = Run(t.Context(), Options{Dir: dir, Log: silent()})
	if err == nil || NextStep(err) == "" || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("error %v, next %q", err, NextStep(err))
	}
	if _, err := os.Lstat(filepath.Join(dir, admin.SocketFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestReload(t *testing.T) {
	dir := initDir(t)
	r := start(t, dir)
	c := control(t, dir)
	edit(t, dir, "issuers: []", "issuers: [{issuer: acme-id, audience: latchkey, jwks: 'https://id.example.org/jwks'}]")
	edit(t, dir, "log_level: info", "log_level: debug")
	edit(t, dir, "limits: {}", "limits: {streams_per_source: 1}")
	r.hup(t, "msg=reloaded")
	st, err := c.Status(t.Context())
	if err != nil || !slices.Equal(st.Issuers, []string{"acme-id"}) {
		t.Errorf("after the reload: %+v, %v", st, err)
	}
	if r.level.Level().String() != "DEBUG" {
		t.Errorf("level %v", r.level.Level())
	}
	if strings.Contains(r.log.String(), "next start") {
		t.Errorf("nothing waits for the next start:\n%s", r.log)
	}
	id, err := latchkey.NewIdentity()
	check(t, err)
	r.dial(t, id)
	if second, err := r.tryDial(t, id); err == nil {
		second.Close()
		t.Error("the limit of one TCP connection does not hold")
	}
	edit(t, dir, "limits: {streams_per_source: 1}", "limits: {sessions: 7}")
	r.hup(t, "next start")

	// a file that does not pass every check changes nothing
	edit(t, dir, "acme-id", "other-id")
	edit(t, dir, "limits: {sessions: 7}", "limitss: {}")
	r.hup(t, "nothing was changed")
	r.log.await(t, ConfigFile+":50:1: unknown field")
	if st, err = c.Status(t.Context()); err != nil || !slices.Equal(st.Issuers, []string{"acme-id"}) {
		t.Errorf("after a bad reload: %+v, %v", st, err)
	}
}

// TestSystemd: the supervisor hears how the basestation fares.
func TestSystemd(t *testing.T) {
	dir := initDir(t)
	path := filepath.Join(filepath.Dir(dir), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	check(t, err)
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "100000")
	t.Setenv("WATCHDOG_PID", "")
	next := func(prefix string) {
		t.Helper()
		b := make([]byte, 4096)
		check(t, l.SetReadDeadline(time.Now().Add(20*time.Second)))
		for {
			n, err := l.Read(b)
			if err != nil {
				t.Fatalf("no %s: %v", prefix, err)
			}
			if strings.HasPrefix(string(b[:n]), prefix) {
				return
			}
		}
	}
	r := start(t, dir)
	next("READY=1\nSTATUS=Serving on " + r.ready.Listen)
	next("WATCHDOG=1")
	r.hup(t, "msg=reloaded")
	next("RELOADING=1")
	next("READY=1")
	check(t, os.Remove(filepath.Join(dir, admin.SocketFile)))
	r.log.await(t, "self-check") // a basestation that nobody can administer is not well
	check(t, r.stop())
	next("STOPPING=1")
}
