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

// checkFile refuses a file that others can reach.
func checkFile(path string) error {
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
	return checkMode(path, info, 0o077, 0o600)
}

// checkDir refuses a directory in which others could replace the file.
func checkDir(path string) error {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return checkMode(dir, info, 0o022, 0o700)
}

func checkMode(path string, info fs.FileInfo, loose, right fs.FileMode) error {
	if mode := info.Mode().Perm(); mode&loose != 0 && runtime.GOOS != "windows" { // modes say nothing there
		return fmt.Errorf("%w: %s has mode %04o; run: chmod %o %s", ErrLoose, path, mode, right, path)
	}
	return nil
}
