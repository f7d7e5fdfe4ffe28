package acl

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

// A Store keeps users, keys, roles, policies and settings in one file, and all
// of them in memory: decisions and Views read an immutable snapshot and never
// wait. It may be used by many goroutines at once.
type Store struct {
	path string
	now  atomic.Pointer[snapshot] // never nil

	writing sync.Mutex // one change at a time; guards what follows
	vault   *vault.Vault
	closed  bool

	// commit is vault.Commit; tests make it fail.
	commit func(map[vault.ID]vault.Record) error
}

// A snapshot is what decisions are made from.
type snapshot struct {
	*state
	// held are keys that are in state but whose removal was asked for and is
	// being written, or could not be. They are refused.
	held    map[latchkey.Fingerprint]bool
	err     error         // why the last change could not be written
	closed  bool          // the store is closed: refuse everything
	changed chan struct{} // closed when the next snapshot takes over
}

// Create makes the file for a new store, with the default roles and nobody in
// it, and opens it. It is for a first start and nothing else, because who may
// pair with an empty store becomes its owner. The file is 0600, in a directory
// that is made 0700 if it is missing; a file that is there already, whatever is
// in it, is fs.ErrExist.
func Create(path string) (*Store, error) {
	tx := &Tx{state: newState(), changes: make(map[vault.ID]vault.Record)}
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
	return fn(&Tx{state: now.state})
}

// Update runs fn on a copy of the present state, checks the outcome and commits
// it: all of it or, if fn or Update returns an error, nothing. Updates run one
// after the other, so fn may test and then set; it must not call Update.
//
// When Update returns nil the change is on disk and in force. When writing it
// failed, the store opens its file anew and reads back: if the change is there,
// whole, it is written once more for certain and Update returns nil, otherwise
// the error. Keys that a change removes are refused from before it is written,
// and stay so if it cannot be written, until they are removed for good or the
// process ends.
func (s *Store) Update(fn func(*Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed {
		return fmt.Errorf("%s: %w", s.path, fs.ErrClosed)
	}
	now := s.now.Load()
	tx := &Tx{state: now.clone(), changes: make(map[vault.ID]vault.Record)}
	err := fn(tx)
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
	held, removed := hold(now, next)
	if removed > 0 {
		s.publish(&snapshot{state: now.state, held: held, err: now.err})
	}
	if err := s.commit(tx.changes); err != nil {
		if removed > 0 {
			err = fmt.Errorf("%w; %d removed keys are refused until this process ends, but a restart would bring them back: try again", err, removed)
		}
		s.publish(&snapshot{state: now.state, held: held, err: err})
		return err
	}
	s.publish(&snapshot{state: next, held: still(held, next)})
	return nil
}

// hold returns the keys to refuse while the change from now to next is written,
// and how many of them it removes.
func hold(now *snapshot, next *state) (held map[latchkey.Fingerprint]bool, removed int) {
	held = still(now.held, now.state)
	for fp := range now.keys {
		if next.keys[fp] == nil {
			held[fp] = true
			removed++
		}
	}
	return held, removed
}

// still returns those of the held keys that st still has.
func still(held map[latchkey.Fingerprint]bool, st *state) map[latchkey.Fingerprint]bool {
	out := make(map[latchkey.Fingerprint]bool)
	for fp := range held {
		if st.keys[fp] != nil {
			out[fp] = true
		}
	}
	return out
}

// publish puts a snapshot in force and wakes those who wait for changes.
func (s *Store) publish(next *snapshot) {
	next.changed = make(chan struct{})
	close(s.now.Swap(next).changed)
}

// Changed returns a channel that is closed when something else is in force than
// at the time of the call. To miss nothing, take the channel first and look at
// the store then.
func (s *Store) Changed() <-chan struct{} { return s.now.Load().changed }

// Err returns why the last change could not be written, nil when it could. A
// store that cannot write still decides.
func (s *Store) Err() error { return s.now.Load().err }
