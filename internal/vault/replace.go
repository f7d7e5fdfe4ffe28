package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// A Salvage is what can still be read of a file that is not whole. Each record has
// its checksum; that it belongs to the last change nobody vouches for.
type Salvage struct {
	Records map[ID]Record
	whole   map[string]bool
}

// Whole reports whether a bucket was read to its end, so that no record of it is
// missing.
func (s Salvage) Whole(bucket string) bool { return s.whole[bucket] }

// Replace puts a new file in the place of one that Open refuses as damaged, or that
// is missing. fill makes its records from what can still be read. The damaged file
// gets the name aside, which must be free, and at no time is there no file at path.
// A file that is not damaged is fs.ErrExist, or what Open says of it, and stays.
// replaced says whether there was one.
func Replace(path, aside string, kind *Kind, load func(map[ID]Record) error, fill func(Salvage) (map[ID]Record, error)) (replaced bool, err error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		records, err := fill(Salvage{})
		if err != nil {
			return false, err
		}
		return false, Create(path, kind, records)
	}
	if err := errors.Join(kind.checkFile(path), kind.checkDir(path)); err != nil {
		return false, err
	}
	raw, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer raw.Close()
	if err := lock(raw, lockTimeout); err != nil {
		return false, fmt.Errorf("%w: %s: %w", kind.InUse, path, err)
	}
	f := &file{path: path, kind: kind, raw: raw}
	if err := f.refused(load); err != nil {
		return false, err
	}
	data, _ := f.bytes() // of what cannot be read nothing is left
	records, err := fill(kind.salvage(data))
	if err != nil {
		return false, err
	}
	next := path + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err // it is what an attempt left that did not come to its end
	}
	if err := Create(next, kind, records); err != nil {
		return false, err
	}
	if runtime.GOOS == "windows" {
		raw.Close() // open files keep their names there
	}
	if err := setAside(path, aside); err != nil {
		return false, errors.Join(err, os.Remove(next))
	}
	if err := os.Rename(next, path); err != nil {
		return false, err
	}
	return true, syncDir(filepath.Dir(path))
}

// refused returns nil if the file is damaged.
func (f *file) refused(load func(map[ID]Record) error) error {
	if err := f.same(); err != nil {
		return err
	}
	c, err := f.read()
	if err == nil {
		if _, err = f.kind.bring(c, load); err == nil {
			return &fs.PathError{Op: "replace", Path: f.path, Err: fs.ErrExist}
		}
		err = f.kind.damaged(f.path, err)
	}
	if errors.Is(err, f.kind.Damaged) {
		return nil
	}
	return err
}

// setAside gives a file a second name, and where there are no hard links another.
func setAside(path, aside string) error {
	err := os.Link(path, aside)
	if err == nil {
		return nil
	}
	if _, there := os.Lstat(aside); !errors.Is(there, fs.ErrNotExist) {
		return err
	}
	return os.Rename(path, aside)
}

// salvage returns what can be read of the bytes of a damaged file. It never goes
// back to an older tree than that of the newest meta page: what was taken back
// since is not to return.
func (k *Kind) salvage(data []byte) Salvage {
	s := Salvage{make(map[ID]Record), make(map[string]bool)}
	root, pages, err := newestMeta(data)
	if err != nil {
		return s
	}
	torn := make(map[string]bool)
	r := &pageReader{data: data, pages: pages, used: make([]bool, pages)}
	r.visit = func(bucket, key, value []byte) error {
		id := ID{string(bucket), string(key)}
		if err := Record(value).check(id); err != nil {
			torn[id.Bucket] = true
			return nil
		}
		s.Records[id] = Record(value)
		return nil
	}
	strange := false // a bucket has another name than it was given
	err = r.walk(root, nil, nil, 0, func(flags uint32, name, value []byte, depth int) error {
		bucket := string(name)
		strange = strange || bucket != aboutBucket && !slices.Contains(k.Buckets, bucket)
		if r.bucket(flags, name, value, depth) != nil {
			torn[bucket] = true
		}
		return nil
	})
	for _, bucket := range k.Buckets {
		s.whole[bucket] = err == nil && !strange && !torn[bucket]
	}
	return s
}
