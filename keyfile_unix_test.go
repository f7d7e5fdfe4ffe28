//go:build unix

package latchkey_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	latchkey "github.com/latchkey-dev/latchkey"
)

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// The test runs alone (no t.Parallel): the umask belongs to the process.
func TestCreateIdentityModes(t *testing.T) {
	for _, umask := range []int{0o000, 0o022, 0o077, 0o777} {
		t.Run(fmt.Sprintf("umask %03o", umask), func(t *testing.T) {
			parent := privateDir(t)
			dir := filepath.Join(parent, "state")
			path := filepath.Join(dir, "key.pem")
			old := syscall.Umask(umask)
			_, err := latchkey.CreateIdentity(path)
			syscall.Umask(old)
			if err != nil {
				t.Fatal(err)
			}
			if got := mode(t, dir); got != 0o700 {
				t.Errorf("directory has mode %04o, want 0700", got)
			}
			if got := mode(t, path); got != 0o600 {
				t.Errorf("key file has mode %04o, want 0600", got)
			}
			if _, err := latchkey.OpenIdentity(path); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOpenIdentityRefusesLooseModes(t *testing.T) {
	for _, tt := range []struct {
		file, dir fs.FileMode
		ok        bool
	}{
		{0o600, 0o700, true},
		{0o400, 0o700, true},
		{0o600, 0o755, true},
		{0o600, 0o500, true},
		{0o640, 0o700, false},
		{0o604, 0o700, false},
		{0o620, 0o700, false},
		{0o610, 0o700, false},
		{0o601, 0o700, false},
		{0o644, 0o700, false},
		{0o666, 0o700, false},
		{0o600, 0o770, false},
		{0o600, 0o702, false},
		{0o600, 0o777, false},
		{0o600, 0o777 | fs.ModeSticky, false},
	} {
		dir := privateDir(t)
		path := filepath.Join(dir, "key.pem")
		createIdentity(t, path)
		if err := errors.Join(os.Chmod(path, tt.file), os.Chmod(dir, tt.dir)); err != nil {
			t.Fatal(err)
		}
		_, err := latchkey.OpenIdentity(path)
		_ = os.Chmod(dir, 0o700)
		name := fmt.Sprintf("file %04o in directory %04o", tt.file, tt.dir)
		if tt.ok {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, latchkey.ErrKeyFileMode) {
			t.Errorf("%s: %v, want ErrKeyFileMode", name, err)
		} else if !strings.Contains(err.Error(), "chmod ") {
			t.Errorf("%s: %v: does not name the fix", name, err)
		}
	}
}

func TestCreateIdentityRefusesLooseDirectory(t *testing.T) {
	dir := privateDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := latchkey.CreateIdentity(filepath.Join(dir, "key.pem")); !errors.Is(err, latchkey.ErrKeyFileMode) {
		t.Errorf("CreateIdentity = %v, want ErrKeyFileMode", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind %v, %v", entries, err)
	}
}

// A fifo must be refused without waiting for a writer.
func TestOpenIdentityRefusesIrregularFiles(t *testing.T) {
	dir := privateDir(t)
	real := filepath.Join(dir, "real.pem")
	createIdentity(t, real)
	for name, make := range map[string]func(path string) error{
		"link":      func(path string) error { return os.Symlink(real, path) },
		"fifo":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		path := filepath.Join(dir, name)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if _, err := latchkey.OpenIdentity(path); !errors.Is(err, latchkey.ErrKeyFileMode) {
			t.Errorf("%s: %v, want ErrKeyFileMode", name, err)
		}
	}
}
