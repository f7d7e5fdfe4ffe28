package acl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const lockTimeout = time.Second

// A file is access.db, open and locked.
type file struct {
	path   string
	raw    *os.File // the handle that db uses
	db     *bolt.DB
	broken bool // bbolt panicked: its locks may be held for ever
}

// openFile locks and checks the file at path, hands it to bbolt and returns what
// is in it.
func openFile(path string) (f *file, st *state, err error) {
	if err := checkFile(path); err != nil {
		return nil, nil, err
	}
	if err := checkDir(path); err != nil {
		return nil, nil, err
	}
	f = &file{path: path}
	err = guard(path, func() (err error) {
		f.db, err = bolt.Open(path, 0o600, options(func(_ string, _ int, _ fs.FileMode) (_ *os.File, err error) {
			if f.raw, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
				return nil, err
			}
			if err = lock(f.raw, lockTimeout); err == nil {
				st, err = f.read()
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
	case errors.Is(err, ErrInUse), errors.Is(err, bolterrors.ErrTimeout):
		return nil, nil, fmt.Errorf("%w: %s: another daemon uses this directory; stop it or choose another directory", ErrInUse, path)
	case errors.Is(err, ErrDamaged) && f.raw != nil:
		_ = f.abandon() // a second close does no harm
	}
	if err != nil {
		return nil, nil, err
	}
	return f, st, nil
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

// guard runs what touches bbolt. A panic in there, or a fault on the mapped
// file, becomes ErrDamaged.
func guard(path string, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s: %v", ErrDamaged, path, p)
		}
	}()
	return fn()
}

// damaged says what is wrong with the file and what to do.
func damaged(path string, cause error) error {
	if errors.Is(cause, ErrNewer) {
		return fmt.Errorf("%s: %w; update Latchkey, or restore a backup", path, cause)
	}
	return fmt.Errorf("%w: %s: %w; nothing was changed: restore a backup, or move the file away and pair again", ErrDamaged, path, cause)
}

// read checks the whole file and returns what is in it.
func (f *file) read() (*state, error) {
	data, err := f.bytes()
	if err != nil {
		return nil, err
	}
	st, err := parseFile(data)
	if err != nil {
		return nil, damaged(f.path, err)
	}
	return st, nil
}

func (f *file) bytes() ([]byte, error) {
	info, err := f.raw.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > MaxFile {
		return nil, damaged(f.path, fmt.Errorf("%d bytes, %d are the most", info.Size(), MaxFile))
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(io.NewSectionReader(f.raw, 0, info.Size()), data); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.path, err)
	}
	return data, nil
}

// parseFile builds a state from the bytes of a file, all of it or nothing.
func parseFile(data []byte) (*state, error) {
	records, about, err := parseRecords(data)
	if err != nil {
		return nil, err
	}
	st := newState()
	st.generation = about.Generation
	for id, r := range records {
		if err := st.load(id, r); err != nil {
			return nil, err
		}
	}
	if err := st.check(); err != nil {
		return nil, err
	}
	return st, nil
}

// parseRecords returns the records in a file, and the summary that they fit.
func parseRecords(data []byte) (map[recordID]record, summary, error) {
	if len(data) == 0 {
		return nil, summary{}, errors.New("it is empty")
	}
	records := make(map[recordID]record)
	err := readPages(data, func(bucket, key, value []byte) error {
		records[recordID{string(bucket), string(key)}] = record(value)
		return nil
	})
	if err != nil {
		return nil, summary{}, err
	}
	id := recordID{aboutBucket, summaryKey}
	about, err := readSummary(records[id])
	if err != nil {
		return nil, summary{}, err
	}
	delete(records, id)
	for id, r := range records {
		if _, err := r.payload(id); err != nil {
			return nil, summary{}, err
		}
	}
	if got := summarize(records, about.Generation); got != about {
		return nil, summary{}, fmt.Errorf("it has %d records that are not the %d of the last change", got.Count, about.Count)
	}
	return records, about, nil
}

// check reads the file once more and compares it with what it must hold.
func (f *file) check(want summary) error {
	there, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	open, err := f.raw.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(there, open) {
		return fmt.Errorf("%w: %s was replaced while in use; restart to use the new file", ErrDamaged, f.path)
	}
	data, err := f.bytes()
	if err != nil {
		return err
	}
	_, got, err := parseRecords(data)
	if err == nil && got != want {
		err = errors.New("it was changed by somebody else")
	}
	if err != nil {
		return damaged(f.path, err)
	}
	return nil
}

// commit writes changes; with them the file holds next. When it returns nil they
// are on disk.
func (f *file) commit(changes map[recordID]record, next *state) error {
	return f.update(func(tx *bolt.Tx) error { return apply(tx, changes, next) })
}

// rewrite writes all of st anew, onto pages that were not in use. After a failed
// write the system may take pages for written that are not; only pages written
// again and synced are certain.
func (f *file) rewrite(st *state) error {
	return f.update(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			if err := tx.DeleteBucket([]byte(name)); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
				return err
			}
		}
		return apply(tx, st.records, st)
	})
}

// apply puts changes into a transaction, and the summary of the state that they
// lead to.
func apply(tx *bolt.Tx, changes map[recordID]record, next *state) error {
	for id, r := range changes {
		if err := put(tx, id, r); err != nil {
			return err
		}
	}
	id, r := next.summarize().record()
	return put(tx, id, r)
}

// put writes a record, or removes it if it is empty.
func put(tx *bolt.Tx, id recordID, r record) error {
	bucket, err := tx.CreateBucketIfNotExists([]byte(id.bucket))
	if err != nil {
		return err
	}
	if r == "" {
		return bucket.Delete([]byte(id.key))
	}
	return bucket.Put([]byte(id.key), []byte(r))
}

// update runs and commits a transaction.
//
// bbolt keeps two meta pages and falls back to the older one when the newer does
// not have its checksum. So that damage to a page cannot bring back the state
// before the last change, a second, empty transaction makes both meta pages
// stand for the new state.
func (f *file) update(fn func(*bolt.Tx) error) error {
	err := guard(f.path, func() error {
		if err := f.db.Update(fn); err != nil {
			return err
		}
		return f.db.Update(func(*bolt.Tx) error { return nil })
	})
	f.broken = f.broken || errors.Is(err, ErrDamaged)
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
	return guard(f.path, f.db.Close)
}

// abandon lets go of a file on which bbolt panicked. Its mapping stays behind
// and keeps the lock alive after the handle is closed, so the lock goes first.
func (f *file) abandon() error {
	unlock(f.raw)
	return f.raw.Close()
}
