package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A File is one file of a new directory.
type File struct {
	Name string
	Make func(path string) error // must fail if the file exists
}

// Create makes the files of dir in their order, all or none of them. It refuses
// a directory that holds any of them. program is the daemon's name.
func Create(dir, program string, files []File) (err error) {
	for _, f := range files {
		if err := unused(dir, f.Name, program); err != nil {
			return err
		}
	}
	var made []string
	defer func() {
		for _, path := range made {
			if err != nil {
				_ = os.Remove(path) // best effort: the error above counts
			}
		}
	}()
	for _, f := range files {
		path := filepath.Join(dir, f.Name)
		if err := f.Make(path); err != nil {
			return err
		}
		made = append(made, path)
	}
	return nil
}

func unused(dir, name, program string) error {
	path := filepath.Join(dir, name)
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return &Error{
			Message: path + " is there already; init overwrites nothing",
			Next:    program + " run --dir " + dir + ", or choose another directory",
		}
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// WriteNew writes a private file that must not exist yet.
func WriteNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// Missing explains the absence of a file that init makes; other errors are
// returned as they are. program is the daemon's name.
func Missing(err error, dir, program string) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return &Error{Message: fmt.Sprintf("%s is not set up: %v", dir, err), Next: program + " init --dir " + dir}
}
