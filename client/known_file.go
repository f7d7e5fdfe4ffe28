package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/latchkey-dev/latchkey"
)

const (
	maxKnownFile = 8 << 20

	lockTime = 5 * time.Second // changes take milliseconds
	lockPoll = 5 * time.Millisecond
)

// A knownEntry is a Device as the file has it: with its token.
type knownEntry struct {
	Device
	Token string `json:"token,omitempty"`
}

// change replaces the file with what fn makes of it. While fn runs, nobody else
// changes the file.
func (k *Known) change(fn func([]Device) ([]Device, error)) error {
	if err := makeStateDir(filepath.Dir(k.path)); err != nil {
		return err
	}
	unlock, err := lockKnown(k.path + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	list, err := readKnown(k.path)
	if err != nil {
		return err
	}
	if list, err = fn(list); err != nil {
		return err
	}
	for _, d := range list {
		if err := d.check(); err != nil {
			return err
		}
	}
	if err := writeKnown(k.path, list); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = list
	return nil
}

// lockKnown takes the lock file, which stays there for good: removing it would
// let two processes hold two locks of one name. The lock ends with the process.
func lockKnown(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(lockTime)
	for {
		held, err := tryLock(f)
		if err == nil && held {
			return func() { _ = f.Close() }, nil
		}
		if err == nil && time.Now().After(deadline) {
			err = fmt.Errorf("%s: another process has held the lock for %v", path, lockTime)
		}
		if err != nil {
			_ = f.Close()
			return nil, err
		}
		time.Sleep(lockPoll)
	}
}

// makeStateDir makes dir when it is missing, 0700 whatever the umask is.
func makeStateDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}

// writeKnown replaces the file in one step. When it returns nil, the new state
// is on disk; before that, a crash leaves the old one.
func writeKnown(path string, list []Device) error {
	var doc struct {
		Version int          `json:"version"`
		Devices []knownEntry `json:"devices"`
	}
	doc.Version, doc.Devices = knownVersion, []knownEntry{}
	for _, d := range list {
		doc.Devices = append(doc.Devices, knownEntry{d, d.Token.Reveal()})
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	if len(text) >= maxKnownFile {
		return fmt.Errorf("%s: %w: more than %d MiB", path, latchkey.ErrTooLarge, maxKnownFile>>20)
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".devices-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails when the rename has succeeded
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := replaceFile(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be opened for sync there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readKnown reads and checks the whole file. A file that is not there is an
// empty one; a damaged one is never taken for empty.
func readKnown(path string) ([]Device, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o, so others could read its tokens; run: chmod 600 %[1]s", path, info.Mode().Perm())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKnownFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKnownFile {
		return nil, fmt.Errorf("%s: %w: more than %d MiB", path, latchkey.ErrTooLarge, maxKnownFile>>20)
	}
	list, offset, err := parseKnown(text)
	if err != nil {
		line := 1 + bytes.Count(text[:min(int(offset), len(text))], []byte("\n"))
		return nil, fmt.Errorf("%s:%d: %w", path, line, err)
	}
	return list, nil
}
