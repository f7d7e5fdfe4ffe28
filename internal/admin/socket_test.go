package admin

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shortDir is a temporary directory with room for a socket's path.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestUIDPermitted(t *testing.T) {
	me := os.Getuid()
	for uid, want := range map[int]bool{me: true, 0: true, me + 1: false, 65534: me == 65534} {
		if uidPermitted(uid) != want {
			t.Errorf("user %d is permitted: %v", uid, !want)
		}
	}
}

// TestPeerUID: the kernel tells who connected.
func TestPeerUID(t *testing.T) {
	l, err := Listen(shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	raw, err := accepted.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	uid, credErr := -2, error(nil)
	if err := raw.Control(func(fd uintptr) { uid, credErr = peerUID(int(fd)) }); err != nil || credErr != nil {
		t.Fatal(err, credErr)
	}
	if uid != os.Getuid() {
		t.Errorf("user %d connected, not %d", uid, os.Getuid())
	}
}

func TestSocketMode(t *testing.T) {
	dir := shortDir(t)
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Lstat(filepath.Join(dir, SocketFile))
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestSocketInTheWay(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, SocketFile)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(dir); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("error %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file is %q now (%v)", text, err)
	}
}

func TestSocketPathTooLong(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	if _, err := Listen(dir); err == nil || !strings.Contains(err.Error(), "shorter --dir") {
		t.Errorf("error %v", err)
	}
}
