package vault

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const lockTimeout = time.Second

// errInUse is what lock returns. Callers get their Kind's error.
var errInUse = errors.New("vault: locked by another process")

// A file is a database, open and locked.
type file struct {
	path   string
	kind   *Kind
	raw    *os.File // the handle that db uses
	db     *bolt.DB
	broken bool // bbolt panicked: its locks may be held for ever
}

// content is what a file holds.
type content struct {
	version int
	records map[ID]Record
	total   total
}

// openFile locks and checks the file at path, hands it to bbolt and returns what
// is in it. load, if not nil, may refuse the content.
func openFile(path string, kind *Kind, load func(content) error) (f *file, c content, err error) {
	if err := kind.checkFile(path); err != nil {
		return nil, c, err
	}
	if err := kind.checkDir(path); err != nil {
		return nil, c, err
	}
	f = &file{path: path, kind: kind}
	err = f.guard(func() (err error) {
		f.db, err = bolt.Open(path, 0o600, options(func(_ string, _ int, _ fs.FileMode) (_ *os.File, err error) {
			if f.raw, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
				return nil, err
			}
			if err = lock(f.raw, lockTimeout); err == nil {
				c, err = f.read()
			}
			if err == nil && load != nil {
				if err = load(c); err != nil {
					err = kind.damaged(path, err)
				}
			}
			if err != nil {
				f.raw.Close()
				return nil, err
			}
			return f.raw, nil
		}))
		return err
	})
	switch {
	case errors.Is(err, errInUse), errors.Is(err, bolterrors.ErrTimeout):
		return nil, c, fmt.Errorf("%w: %s: another daemon uses this directory; stop it or choose another directory", kind.InUse, path)
	case errors.Is(err, kind.Damaged) && f.raw != nil:
		_ = f.abandon() // a second close does no harm
	}
	if err != nil {
		return nil, c, err
	}
	return f, c, nil
}

// options are those of every bbolt handle. There is no free list in the file:
// bbolt finds the free pages by walking the tree, which readPages has checked.
func options(open func(string, int, fs.FileMode) (*os.File, error)) *bolt.Options {
	return &bolt.Options{
		Timeout:        lockTimeout,
		PageSize:       pageSize,
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
		NoStatistics:   true,
		OpenFile:       open,
	}
}

// guard runs what touches bbolt. A panic in there, or a fault on the mapped file,
// becomes Kind.Damaged.
func (f *file) guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s: %v", f.kind.Damaged, f.path, p)
		}
	}()
	return fn()
}

// damaged says what is wrong with the file and what to do.
func (k *Kind) damaged(path string, cause error) error {
	if errors.Is(cause, k.Newer) {
		return fmt.Errorf("%s: %w; update Latchkey, or restore a backup", path, cause)
	}
	return fmt.Errorf("%w: %s: %w; nothing was changed: restore a backup, or %s", k.Damaged, path, cause, k.Instead)
}

// read checks the whole file and returns what is in it.
func (f *file) read() (content, error) {
	data, err := f.bytes()
	if err != nil {
		return content{}, err
	}
	c, err := f.kind.parse(data)
	if err != nil {
		return content{}, f.kind.damaged(f.path, err)
	}
	return c, nil
}

// bytes returns the whole file, if it is not too large for one.
func (f *file) bytes() ([]byte, error) {
	info, err := f.raw.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > f.kind.MaxFile {
		return nil, f.kind.damaged(f.path, fmt.Errorf("%d bytes, %d are the most", info.Size(), f.kind.MaxFile))
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(io.NewSectionReader(f.raw, 0, info.Size()), data); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.path, err)
	}
	return data, nil
}

// parse returns the records in the bytes of a file, all of them or none.
func (k *Kind) parse(data []byte) (content, error) {
	if len(data) == 0 {
		return content{}, errors.New("it is empty")
	}
	records := make(map[ID]Record)
	err := readPages(data, func(bucket, key, value []byte) error {
		records[ID{string(bucket), string(key)}] = Record(value)
		return nil
	})
	if err != nil {
		return content{}, err
	}
	id := ID{aboutBucket, summaryKey}
	version, about, err := k.readSummary(records[id])
	if err != nil {
		return content{}, err
	}
	delete(records, id)
	for id, r := range records {
		if !slices.Contains(k.Buckets, id.Bucket) {
			return content{}, fmt.Errorf("unknown bucket %q", id.Bucket)
		}
		if err := r.check(id); err != nil {
			return content{}, err
		}
	}
	got := sum(records)
	got.generation = about.generation
	if got != about {
		return content{}, fmt.Errorf("it has %d records that are not the %d of the last change", got.count, about.count)
	}
	return content{version, records, about}, nil
}

func sum(records map[ID]Record) (t total) {
	for _, r := range records {
		t.add(r, 1)
	}
	return t
}

// same demands that the file is still the one that has its name.
func (f *file) same() error {
	there, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	open, err := f.raw.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(there, open) {
		return fmt.Errorf("%w: %s was replaced while in use; restart to use the new file", f.kind.Damaged, f.path)
	}
	return nil
}

// commit writes changes; with them the file's total is next. When it returns nil
// they are on disk.
func (f *file) commit(changes map[ID]Record, next total) error {
	return f.update(func(tx *bolt.Tx) error { return f.apply(tx, changes, next) })
}

// rewrite writes all records anew, onto pages that were not in use. After a
// failed write the system may take pages for written that are not; only pages
// written again and synced are certain.
func (f *file) rewrite(c content) error {
	return f.update(func(tx *bolt.Tx) error {
		for _, name := range append([]string{aboutBucket}, f.kind.Buckets...) {
			if err := tx.DeleteBucket([]byte(name)); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
				return err
			}
		}
		return f.apply(tx, c.records, c.total)
	})
}

// apply puts changes into a transaction, and the summary that they lead to.
func (f *file) apply(tx *bolt.Tx, changes map[ID]Record, next total) error {
	for id, r := range changes {
		if err := put(tx, id, r); err != nil {
			return err
		}
	}
	id, r := next.record(f.kind.Version)
	return put(tx, id, r)
}

// put writes a record, or removes it if it is empty.
func put(tx *bolt.Tx, id ID, r Record) error {
	bucket, err := tx.CreateBucketIfNotExists([]byte(id.Bucket))
	if err != nil {
		return err
	}
	if r == "" {
		return bucket.Delete([]byte(id.Key))
	}
	return bucket.Put([]byte(id.Key), []byte(r))
}

// update runs and commits a transaction.
//
// bbolt keeps two meta pages and falls back to the older one when the newer does
// not have its checksum. So that damage to a page cannot bring back the state
// before the last change, a second, empty transaction makes both meta pages
// stand for the new state.
func (f *file) update(fn func(*bolt.Tx) error) error {
	err := f.guard(func() error {
		if err := f.db.Update(fn); err != nil {
			return err
		}
		return f.db.Update(func(*bolt.Tx) error { return nil })
	})
	f.broken = f.broken || errors.Is(err, f.kind.Damaged)
	if err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return nil
}

// close lets go of the file and its lock. It never waits.
func (f *file) close() error {
	if f.broken {
		return f.abandon()
	}
	return f.guard(f.db.Close)
}

// abandon lets go of a file on which bbolt panicked. Its mapping stays behind
// and keeps the lock alive after the handle is closed, so the lock goes first.
func (f *file) abandon() error {
	unlock(f.raw)
	return f.raw.Close()
}
