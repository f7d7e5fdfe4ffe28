package daemon

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/admin"
)

func TestRunSaysWhereItListens(t *testing.T) {
	dir := initDir(t)
	r := start(t, dir)
	host, port, err := net.SplitHostPort(r.ready.Listen)
	if err != nil || host != "127.0.0.1" || port == "0" || r.ready.Fingerprint.IsZero() {
		t.Errorf("ready %+v (%v)", r.ready, err)
	}
	if err := r.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, admin.SocketFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if st, err := control(t, dir).Status(t.Context()); err != nil || st.Running {
		t.Errorf("after the stop: %+v, %v", st, err)
	}
}

// TestSecondDaemon: it is told at once, and the first one does not notice.
func TestSecondDaemon(t *testing.T) {
	dir := initDir(t)
	start(t, dir)
	err := Run(t.Context(), Options{Dir: dir, Log: silent()})
	wants(t, err, nil, "latchkeyd status")
	if !strings.Contains(err.Error(), "another daemon (process ") {
		t.Errorf("error %v", err)
	}
	if _, err := control(t, dir).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRunRefuses: a directory that is not whole is refused and left as it is.
func TestRunRefuses(t *testing.T) {
	tests := []struct {
		name    string
		spoil   func(t *testing.T, dir string)
		want    error
		message string
	}{
		{"no directory", func(t *testing.T, dir string) { check(t, os.RemoveAll(dir)) }, nil, "not set up"},
		{"no key", func(t *testing.T, dir string) { check(t, os.Remove(filepath.Join(dir, device.KeyFile))) }, nil, "not set up"},
		{"no store", func(t *testing.T, dir string) { check(t, os.Remove(filepath.Join(dir, device.AccessFile))) }, fs.ErrNotExist, "is missing, with all users and keys"},
		{"no configuration", func(t *testing.T, dir string) { check(t, os.Remove(filepath.Join(dir, ConfigFile))) }, nil, "not set up"},
		{"unknown field", func(t *testing.T, dir string) { edit(t, dir, "services:", "servcies:") }, nil, ConfigFile + ":11:1: unknown field"},
		{"truncated store", func(t *testing.T, dir string) { check(t, os.Truncate(filepath.Join(dir, device.AccessFile), 4096)) }, acl.ErrDamaged, device.AccessFile},
		{"empty store", func(t *testing.T, dir string) { check(t, os.Truncate(filepath.Join(dir, device.AccessFile), 0)) }, acl.ErrDamaged, device.AccessFile},
		{"occupied port", func(t *testing.T, dir string) { edit(t, dir, "127.0.0.1:0", occupied(t)) }, nil, "listen on UDP"},
	}
	if runtime.GOOS != "windows" {
		loose := func(name string) func(*testing.T, string) {
			return func(t *testing.T, dir string) { check(t, os.Chmod(filepath.Join(dir, name), 0o644)) }
		}
		tests = append(tests, []struct {
			name    string
			spoil   func(t *testing.T, dir string)
			want    error
			message string
		}{
			{"loose key", loose(device.KeyFile), latchkey.ErrKeyFileMode, "chmod 600"},
			{"loose store", loose(device.AccessFile), acl.ErrLoose, device.AccessFile},
		}...)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := initDir(t)
			test.spoil(t, dir)
			before := contents(t, dir)
			err := Run(t.Context(), Options{Dir: dir, Log: silent()})
			if err == nil || !strings.Contains(err.Error(), test.message) || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("error %v", err)
			}
			after := contents(t, dir)
			if test.name == "occupied port" { // which is found out after the audit log was opened
				before, after = private(before), private(after)
			}
			if !slices.Equal(before, after) {
				t.Error("a file was changed")
			}
		})
	}
}

// private returns the files that only a person changes.
func private(files []string) []string {
	return slices.DeleteFunc(files, func(f string) bool {
		return strings.HasPrefix(f, device.AuditFile) || strings.HasPrefix(f, device.AccessFile)
	})
}

func TestReload(t *testing.T) {
	dir := initDir(t, "ssh=tcp://127.0.0.1:22")
	r := start(t, dir)
	c := control(t, dir)
	edit(t, dir, "ssh: tcp://127.0.0.1:22", "web: tcp://127.0.0.1:80")
	edit(t, dir, "pairing: [local-initial]", "pairing: []")
	edit(t, dir, "log_level: info", "log_level: debug")
	edit(t, dir, "name: test", "name: other")
	r.hup(t, "msg=reloaded")
	st, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(st.Services) != 1 || st.Services[0].ID != "web" || len(st.Pairing) != 0 || st.Name != "other" {
		t.Errorf("after the reload: %+v", st)
	}
	if r.level.Level().String() != "DEBUG" {
		t.Errorf("level %v", r.level.Level())
	}
	edit(t, dir, "pairing: []", "pairing: [local-initial]")
	edit(t, dir, "127.0.0.1:0", "127.0.0.1:1")
	r.hup(t, "next start")
	if st, err = c.Status(t.Context()); err != nil || len(st.Pairing) != 1 || st.Listen != r.ready.Listen {
		t.Errorf("after the second reload: %+v, %v", st, err)
	}
}

// TestReloadKeepsSessions: a session goes on through a reload, and the new
// limits hold for those that come after it.
func TestReloadKeepsSessions(t *testing.T) {
	dir := initDir(t)
	r := start(t, dir)
	text, err := control(t, dir).PairingURL(t.Context())
	check(t, err)
	u, err := latchkey.ParsePairingURL(text)
	check(t, err)
	c := &client.Client{Dir: t.TempDir(), NoDiscovery: true}
	_, err = c.Pair(t.Context(), u, client.PairOptions{Alias: "home", User: "alice"})
	check(t, err)
	conn, err := c.Dial(t.Context(), "home")
	check(t, err)
	defer conn.Close()
	edit(t, dir, "limits: {}", "limits: {sessions: 1}")
	r.hup(t, "msg=reloaded")
	if _, err := conn.Get(t.Context(), "/device/info"); err != nil {
		t.Errorf("the session did not survive: %v", err)
	}
	second, err := c.Dial(t.Context(), "home")
	if err == nil {
		_, err = second.Get(t.Context(), "/device/info")
		_ = second.Close()
	}
	if err == nil {
		t.Error("the limit of one session does not hold")
	}
	if _, err := conn.Get(t.Context(), "/device/info"); err != nil {
		t.Errorf("the session did not survive the second: %v", err)
	}
}

// TestBadReload: a file that does not pass every check changes nothing, and the
// log says where it is wrong.
func TestBadReload(t *testing.T) {
	dir := initDir(t, "ssh=tcp://127.0.0.1:22")
	r := start(t, dir)
	c := control(t, dir)
	before, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	edit(t, dir, "ssh: tcp://127.0.0.1:22", "web: tcp://127.0.0.1:80")
	edit(t, dir, "limits: {}", "limitss: {}")
	r.hup(t, "nothing was changed")
	r.log.await(t, ConfigFile+":31:1: unknown field")
	after, err := c.Status(t.Context())
	if err != nil || len(after.Services) != 1 || after.Services[0] != before.Services[0] {
		t.Errorf("after a bad reload: %+v, %v", after, err)
	}
}

func TestSystemd(t *testing.T) {
	dir := initDir(t)
	path := filepath.Join(shortDir(t), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "100000")
	t.Setenv("WATCHDOG_PID", "")
	next := func(prefix string) string {
		t.Helper()
		b := make([]byte, 4096)
		check(t, l.SetReadDeadline(time.Now().Add(20*time.Second)))
		for {
			n, err := l.Read(b)
			if err != nil {
				t.Fatalf("no %s: %v", prefix, err)
			}
			if text := string(b[:n]); strings.HasPrefix(text, prefix) {
				return text
			}
		}
	}
	r := start(t, dir)
	if text := next("READY=1"); !strings.Contains(text, r.ready.Listen) {
		t.Errorf("ready: %q", text)
	}
	next("WATCHDOG=1")
	r.hup(t, "msg=reloaded")
	if text := next("RELOADING=1"); runtime.GOOS == "linux" && !strings.Contains(text, "MONOTONIC_USEC=") {
		t.Errorf("reloading: %q", text)
	}
	next("READY=1")
	check(t, os.Remove(filepath.Join(dir, admin.SocketFile)))
	r.log.await(t, "self-check") // a daemon that nobody can administer is not well
	check(t, r.stop())
	next("STOPPING=1")
}
