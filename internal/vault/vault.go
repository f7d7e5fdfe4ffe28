package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"time"
)

// A Kind describes the files of one owner.
type Kind struct {
	Version int           // of the format that the owner writes; later ones are not opened, earlier ones go through Migrate
	MaxFile int64         // bytes; larger files are not opened
	Buckets []string      // that records may lie in; "about" is taken
	Recheck time.Duration // the whole file is read again before a change when the last time is longer ago; 0: always
	Instead string        // what to do where there is no backup: "move the file away and ..."

	// Migrate returns what to change in the records of an earlier version, which
	// it must not touch, so that they become those of Version. Nil: nothing.
	Migrate func(version int, records map[ID]Record) (map[ID]Record, error)

	// The errors that Open and Commit wrap, each with the path and what to do:
	// a file that is not what was written, one that another process has open for
	// longer than a second, one of a later version, one that others can reach.
	Damaged, InUse, Newer, Loose error
}

// A Vault is one open file. Its methods are for one goroutine at a time.
type Vault struct {
	path    string
	kind    *Kind
	file    *file   // nil after a failure: must be opened again before a change
	now     content // what callers were told is in the file
	refused total   // of a change that was answered with an error and may be in the file
	checked time.Time
	closed  bool

	// commit is (*file).commit; tests make it fail at chosen points.
	commit func(*file, map[ID]Record, total) error
}

// Open locks the file at path, checks all of it and hands the records to load,
// which must keep no reference to the map and may refuse them. A file of an
// earlier version is brought to Kind.Version in one change first; a crash leaves
// it at the one or at the other. A missing file is fs.ErrNotExist. Whatever is
// refused is left as it is.
func Open(path string, kind *Kind, load func(map[ID]Record) error) (*Vault, error) {
	return open(path, kind, load, (*file).commit)
}

func open(path string, kind *Kind, load func(map[ID]Record) error, commit func(*file, map[ID]Record, total) error) (*Vault, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	var steps map[ID]Record
	f, c, err := openFile(path, kind, func(c content) (err error) {
		steps, err = kind.bring(c, load)
		return err
	})
	if err != nil {
		return nil, err
	}
	v := &Vault{path: path, kind: kind, file: f, now: c, checked: time.Now(), commit: commit}
	if c.version < kind.Version {
		if err := v.Commit(steps); err != nil {
			return nil, errors.Join(fmt.Errorf("bring the file from format %d to %d: %w", c.version, kind.Version, err), v.Close())
		}
	}
	return v, nil
}

// bring hands records to load as those of Kind.Version, and returns what has to
// change in the file for that.
func (k *Kind) bring(c content, load func(map[ID]Record) error) (steps map[ID]Record, err error) {
	if c.version < k.Version && k.Migrate != nil {
		if steps, err = k.Migrate(c.version, c.records); err != nil {
			return nil, err
		}
		c.records = maps.Clone(c.records)
		apply(c.records, steps)
	}
	return steps, load(c.records)
}

// Close lets go of the file. It is idempotent and never waits.
func (v *Vault) Close() error {
	if v.closed {
		return nil
	}
	v.closed = true
	if v.file == nil {
		return nil
	}
	return v.file.close()
}

// Commit writes changes, all or none. nil means that they are on disk, with
// everything before them. An error means that they are not, or will be taken back
// before the next change; only a restart right then may find them in the file,
// and the error says so. After Close it is fs.ErrClosed.
func (v *Vault) Commit(changes map[ID]Record) error {
	if v.closed {
		return fmt.Errorf("%s: %w", v.path, fs.ErrClosed)
	}
	next := v.now.total
	next.generation++
	for id, r := range changes {
		next.add(v.now.records[id], -1)
		next.add(r, 1)
	}
	if err := v.write(changes, next); err != nil {
		return err
	}
	apply(v.now.records, changes)
	v.now.total = next
	return nil
}

// apply makes changes to records.
func apply(records, changes map[ID]Record) {
	for id, r := range changes {
		if r == "" {
			delete(records, id)
		} else {
			records[id] = r
		}
	}
}

// write brings the file from v.now to v.now with changes.
func (v *Vault) write(changes map[ID]Record, next total) error {
	if err := v.ready(); err != nil {
		return err
	}
	err := v.commit(v.file, changes, next)
	if err == nil {
		return nil
	}
	// Now the file may hold the one state or the other. Ask it.
	v.letGo()
	v.refused = next
	f, there, openErr := openFile(v.path, v.kind, nil)
	if openErr != nil {
		return fmt.Errorf("%w; whether it is in the file is unknown: %w", err, openErr)
	}
	v.file = f
	switch there.total {
	case v.now.total:
		return err
	case next:
		if again := f.rewrite(there); again != nil {
			v.letGo()
			return fmt.Errorf("%w; after a restart it may be in force: %w", err, again)
		}
		return nil
	}
	v.letGo()
	return v.kind.damaged(v.path, err)
}

// ready makes sure that the file is open and holds v.now.
func (v *Vault) ready() error {
	if v.file == nil {
		return v.reopen()
	}
	if err := v.file.same(); err != nil {
		return err
	}
	if v.kind.Recheck > 0 && time.Since(v.checked) < v.kind.Recheck {
		return nil
	}
	there, err := v.file.read()
	if err != nil {
		return err
	}
	if there.total != v.now.total {
		return v.kind.damaged(v.path, errors.New("it was changed by somebody else"))
	}
	v.checked = time.Now()
	return nil
}

// reopen opens the file after a failure. It must hold v.now, which is what
// callers were told. If it holds the change that was refused, that change is
// taken back.
func (v *Vault) reopen() error {
	f, there, err := openFile(v.path, v.kind, nil)
	if err != nil {
		return err
	}
	v.file = f
	switch there.total {
	case v.now.total:
		v.checked = time.Now()
		return nil
	case v.refused:
		if err := f.rewrite(v.now); err != nil {
			v.letGo()
			return err
		}
		return nil
	}
	v.letGo()
	return v.kind.damaged(v.path, errors.New("it was changed by somebody else"))
}

// letGo closes the file; the next change opens it again.
func (v *Vault) letGo() {
	_ = v.file.close() // what it holds is read again either way
	v.file = nil
}

// Generation counts the changes that were committed since Create.
func (v *Vault) Generation() uint64 { return v.now.total.generation }

// Records returns a copy of what is in the file.
func (v *Vault) Records() map[ID]Record { return maps.Clone(v.now.records) }
