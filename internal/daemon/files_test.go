package daemon

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/admin"
)

// TestStaleSocket: what a killed daemon left behind is in nobody's way.
func TestStaleSocket(t *testing.T) {
	dir := initDir(t)
	path := filepath.Join(dir, admin.SocketFile)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := control(t, dir)
	if st, err := c.Status(t.Context()); err != nil || st.Running {
		t.Errorf("with a stale socket: %+v, %v", st, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
	if st, err := control(t, dir).Status(t.Context()); err != nil || !st.Running {
		t.Errorf("after the start: %+v, %v", st, err)
	}
}

// TestControlSpeaksOnlyItsOwn: other requests than operations are refused, and
// the server goes on.
func TestControlSpeaksOnlyItsOwn(t *testing.T) {
	dir := initDir(t)
	start(t, dir)
	path := filepath.Join(dir, admin.SocketFile)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	transport := &http.Transport{DialContext: dial}
	defer transport.CloseIdleConnections()
	for _, test := range []struct{ method, path, body string }{
		{http.MethodGet, "/v1/status", ""},
		{http.MethodPost, "/status", "{}"},
		{http.MethodPost, "/v1/", "{}"},
		{http.MethodPost, "/v1/user/list", "["},
		{http.MethodPost, "/v1/user/../status", "{}"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), test.method, "http://latchkeyd"+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK || !strings.Contains(string(text), `"error"`) {
			t.Errorf("%s %s: %s %s", test.method, test.path, resp.Status, text)
		}
	}
	if _, err := control(t, dir).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	dir := initDir(t)
	for _, keep := range []string{device.KeyFile, ConfigFile, device.AccessFile} {
		for _, name := range []string{device.KeyFile, ConfigFile, device.AccessFile} {
			if name != keep {
				_ = os.Remove(filepath.Join(dir, name))
			}
		}
		path := filepath.Join(dir, keep)
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Init(Setup{Dir: dir})
		wants(t, err, nil, "latchkeyd run")
		if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
			t.Errorf("%s is %q now (%v)", keep, text, err)
		}
		if list, _ := os.ReadDir(dir); len(list) != 1 {
			t.Errorf("init left %v", list)
		}
		_ = os.Remove(path)
	}
}

func TestInitMakesPrivateFiles(t *testing.T) {
	dir := initDir(t)
	for name, want := range map[string]os.FileMode{".": 0o700, device.KeyFile: 0o600, ConfigFile: 0o600, device.AccessFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), want)
		}
	}
}

func TestInitMistakesLeaveNothing(t *testing.T) {
	for name, s := range map[string]Setup{
		"not NAME=TARGET": {Services: []string{"ssh"}},
		"target":          {Services: []string{"ssh=22"}},
		"service name":    {Services: []string{"S SH=tcp://127.0.0.1:22"}},
		"mode":            {Pairing: []string{"open"}},
		"listen":          {Listen: "here"},
		"product alone":   {Product: "acme"},
	} {
		s.Dir = filepath.Join(t.TempDir(), "d")
		if _, err := Init(s); err == nil || strings.Contains(err.Error(), ConfigFile+":") {
			t.Errorf("%s: error %v", name, err)
		}
		if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %s is there", name, s.Dir)
		}
	}
}
