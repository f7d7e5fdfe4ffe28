package acl

import (
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/latchkey-dev/latchkey/internal/vault"
)

// A Store keeps users, keys, roles, policies, invitations and settings in one
// file, and all of them in memory: decisions and Views read an immutable snapshot
// and never wait. It may be used by many goroutines at once.
type Store struct {
	path   string
	now    atomic.Pointer[snapshot] // never nil
	anchor atomic.Pointer[Anchor]   // never nil

	writing sync.Mutex // one change at a time; guards what follows
	vault   *vault.Vault
	wishes  map[vault.ID]wish // that could not be written
	closed  bool

	// commit is vault.Commit; tests make it fail.
	commit func(map[vault.ID]vault.Record) error
}

// A snapshot is what decisions are made from.
type snapshot struct {
	*state
	// wished is state with what is being written, or could not be; nil when all
	// is written. Only what both allow is allowed.
	wished  *state
	err     error         // why the last change could not be written
	closed  bool          // the store is closed: refuse everything
	changed chan struct{} // closed when another snapshot takes over that may decide otherwise
}

// Create makes the file for a new store, with the default roles and nobody in
// it, and opens it. It is for a first start and nothing else, because who may
// pair with an empty store becomes its owner. The file is 0600, in a directory
// that is made 0700 if it is missing; a file that is there already, whatever is
// in it, is fs.ErrExist.
func Create(path string) (*Store, error) {
	tx := newTx(newState(), nil)
	if err := putDefaults(tx); err != nil {
		return nil, err
	}
	if err := vault.Create(path, kind, tx.changes); err != nil {
		return nil, fmt.Errorf("create access database: %w", err)
	}
	return Open(path)
}

// Open opens the store at path and checks all of it. A file that is not whole is
// ErrDamaged, one from a later version ErrNewer, one that others can reach
// ErrLoose, and one that another process has open, for longer than a second,
// ErrInUse. A missing file is fs.ErrNotExist. None of them is changed.
func Open(path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	st := newState()
	v, err := vault.Open(path, kind, st.load)
	if err != nil {
		return nil, fmt.Errorf("open access database: %w", err)
	}
	st.generation = v.Generation()
	s := &Store{path: path, vault: v, commit: v.Commit}
	s.now.Store(&snapshot{state: st, changed: make(chan struct{})})
	s.anchor.Store(&st.anchor)
	return s, nil
}

// Close releases the file. From then on every request is refused.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.publish(&snapshot{state: newState(), closed: true, err: fs.ErrClosed})
	return s.vault.Close()
}

// View runs fn on the present state, which does not change meanwhile.
func (s *Store) View(fn func(*Tx) error) error {
	now := s.now.Load()
	if now.closed {
		return fmt.Errorf("%s: %w", s.path, fs.ErrClosed)
	}
	return fn(&Tx{state: now.state, wished: now.wished})
}

// Update runs fn on a copy of the present state, checks the outcome and commits
// it: all of it or, if fn or Update returns an error, nothing. Updates run one
// after the other, so fn may test and then set; it must not call Update.
//
// When Update returns nil the change is on disk and in force. When writing it
// failed, the store opens its file anew and reads back: if the change is there,
// whole, it is written once more for certain and Update returns nil, otherwise
// the error. Rights that a change takes away are refused from before it is
// written. If it cannot be written they stay so, until a later change of the same
// users, keys, roles or policies is written or the process ends, and the error is
// ErrHeld too.
func (s *Store) Update(fn func(*Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed {
		return fmt.Errorf("%s: %w", s.path, fs.ErrClosed)
	}
	now := s.now.Load()
	tx := newTx(now.clone(), now.wished)
	err := fn(tx)
	if err == nil {
		err = tx.trimRevoked()
	}
	tx.finished = true
	if err != nil || len(tx.changes) == 0 {
		return err
	}
	next := tx.state
	next.generation++
	if err := next.check(); err != nil {
		return err
	}
	if !tx.force && now.administrators() > 0 && next.administrators() == 0 {
		return ErrLastAdmin
	}
	return s.write(now, tx)
}

// write commits tx, which was checked, and puts it in force.
func (s *Store) write(now *snapshot, tx *Tx) error {
	wishes, takes := tx.wishes(now.state, s.wishes)
	if takes {
		now = &snapshot{state: now.state, wished: granted(now.state, wishes), err: now.err}
		s.publish(now)
	}
	if err := s.commit(tx.changes); err != nil {
		if takes {
			err = fmt.Errorf("%w: %w", ErrHeld, err)
		}
		s.wishes = wishes
		s.succeed(&snapshot{state: now.state, wished: now.wished, err: err})
		return err
	}
	s.wishes = maps.Clone(s.wishes)
	maps.DeleteFunc(s.wishes, func(id vault.ID, _ wish) bool { _, written := tx.changes[id]; return written })
	next := &snapshot{state: tx.state, wished: granted(tx.state, s.wishes)}
	if tx.quiet && tx.decidesNothing() {
		s.succeed(next)
	} else {
		s.publish(next)
	}
	return nil
}

// publish puts a snapshot in force and wakes those who wait for changes.
func (s *Store) publish(next *snapshot) {
	next.changed = make(chan struct{})
	close(s.now.Swap(next).changed)
}

// succeed puts a snapshot in force that decides as the one before it.
func (s *Store) succeed(next *snapshot) {
	next.changed = s.now.Load().changed
	s.now.Store(next)
}

// Changed returns a channel that is closed when something else is in force than
// at the time of the call. To miss nothing, take the channel first and look at
// the store then.
func (s *Store) Changed() <-chan struct{} { return s.now.Load().changed }

// Err returns why the last change could not be written, nil when it could. A
// store that cannot write still decides.
func (s *Store) Err() error { return s.now.Load().err }
