package acl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	bolt "go.etcd.io/bbolt"
)

// createFile writes a new file with the state st. It goes through a temporary
// name, so that a crash leaves either no file or a whole one, and replaces
// nothing.
func createFile(path string, st *state) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".access-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if err := errors.Join(temp.Chmod(0o600), temp.Close()); err != nil {
		return err
	}
	f := &file{path: temp.Name()}
	err = guard(path, func() (err error) {
		f.db, err = bolt.Open(f.path, 0o600, options(os.OpenFile))
		return err
	})
	if err != nil {
		return err
	}
	if err := errors.Join(f.rewrite(st), f.close()); err != nil {
		return err
	}
	return place(temp.Name(), path)
}

// place gives a whole file its name. Where there are no hard links, a rename,
// which could replace a file, is guarded by a look first.
func place(temp, path string) error {
	if err := os.Link(temp, path); err != nil {
		if _, there := os.Lstat(path); !errors.Is(there, fs.ErrNotExist) {
			return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
		if err := os.Rename(temp, path); err != nil {
			return err
		}
	}
	if runtime.GOOS == "windows" {
		return nil // directories cannot be opened for sync there
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// checkPrivate refuses a file that others can reach, and a directory in which
// others could replace it.
func checkPrivate(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; only the first start makes a new one: restore a backup, or run init", err)
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", ErrLoose, path)
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return nil // modes say nothing there; the profile directory's ACL protects
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %s", ErrLoose, path, info.Mode().Perm(), path)
	}
	if dir.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%w: others can write to its directory, mode %04o; run: chmod 700 %s", ErrLoose, dir.Mode().Perm(), filepath.Dir(path))
	}
	return nil
}
