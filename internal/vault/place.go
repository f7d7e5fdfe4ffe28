package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	bolt "go.etcd.io/bbolt"
)

// Create writes a new file with these records, 0600, in a directory that is made
// 0700 if it is missing. It goes through a temporary name, so that a crash leaves
// either no file or a whole one. A file that is there already, whatever is in it,
// is fs.ErrExist, and stays as it is.
func Create(path string, kind *Kind, records map[ID]Record) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := kind.checkDir(path); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".vault-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if err := errors.Join(temp.Chmod(0o600), temp.Close()); err != nil {
		return err
	}
	f := &file{path: temp.Name(), kind: kind}
	err = f.guard(func() (err error) {
		f.db, err = bolt.Open(f.path, 0o600, options(os.OpenFile))
		return err
	})
	if err != nil {
		return err
	}
	if err := errors.Join(f.rewrite(content{kind.Version, records, sum(records)}), f.close()); err != nil {
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
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be opened for sync there
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// checkFile refuses a file that others can reach.
func (k *Kind) checkFile(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; only the first start makes a new one: restore a backup, or run init", err)
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", k.Loose, path)
	}
	return k.checkMode(path, info, 0o077, 0o600)
}

// checkDir refuses a directory in which others could replace the file.
func (k *Kind) checkDir(path string) error {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return k.checkMode(dir, info, 0o022, 0o700)
}

func (k *Kind) checkMode(path string, info fs.FileInfo, loose, right fs.FileMode) error {
	if mode := info.Mode().Perm(); mode&loose != 0 && runtime.GOOS != "windows" { // modes say nothing there
		return fmt.Errorf("%w: %s has mode %04o; run: chmod %o %s", k.Loose, path, mode, right, path)
	}
	return nil
}
