package registry

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

// maxBatch is how many changes share one sync of the disk.
const maxBatch = 1024

// A Store is an open registry. It may be used by many goroutines at once.
type Store struct {
	path string
	now  atomic.Pointer[snapshot] // never nil

	queueing sync.Mutex
	queue    []*change // asked for and not yet begun; bounded by the callers, who wait

	writing sync.Mutex // one batch at a time; guards what follows
	vault   *vault.Vault
	closed  bool

	noteMu sync.Mutex
	seen   map[latchkey.DeviceID]time.Time // since the last Flush
	ahead  map[latchkey.DeviceID]uint64    // versions of uploads that changed nothing, above the stored ones

	// commit is vault.Commit; tests make it fail at chosen points.
	commit func(map[vault.ID]vault.Record) error
}

// A snapshot is what reads see.
type snapshot struct {
	*state
	held   held
	err    error // why the last change could not be written
	closed bool
}

// A change is one caller's, waiting for its turn.
type change struct {
	fn   func(*tx) error
	done chan error
}

// Create makes the file for a new registry, empty and 0600, in a directory that
// is made 0700 if it is missing, and opens it. A file that is there already,
// whatever is in it, is fs.ErrExist.
func Create(path string) (*Store, error) {
	if err := vault.Create(path, kind, nil); err != nil {
		return nil, fmt.Errorf("create registry: %w", err)
	}
	return Open(path)
}

// Open opens the registry at path and checks all of it. A file that is not whole
// is ErrDamaged, one from a later version ErrNewer, one that others can reach
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
		return nil, fmt.Errorf("open registry: %w", err)
	}
	s := &Store{path: path, vault: v, commit: v.Commit, seen: make(map[latchkey.DeviceID]time.Time), ahead: make(map[latchkey.DeviceID]uint64)}
	s.now.Store(&snapshot{state: st})
	return s, nil
}

// Close writes when devices were seen and releases the file. From then on nobody
// is known and nothing is redeemed. It is idempotent.
func (s *Store) Close() error {
	flushed := s.Flush()
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.now.Store(&snapshot{state: newState(), err: fs.ErrClosed, closed: true})
	if err := s.vault.Close(); err != nil {
		return err
	}
	return flushed
}

// Err returns why the last change could not be written, nil when it could. A
// registry that cannot write still knows its devices.
func (s *Store) Err() error { return s.now.Load().err }

// update runs fn on a copy of the present state and commits what it changed,
// together with what others ask for meanwhile. fn must check everything before it
// changes anything, because an error from it takes nothing back.
func (s *Store) update(fn func(*tx) error) error {
	c := &change{fn, make(chan error, 1)}
	s.queueing.Lock()
	s.queue = append(s.queue, c)
	s.queueing.Unlock()
	s.writing.Lock()
	defer s.writing.Unlock()
	for {
		select {
		case err := <-c.done: // perhaps whoever wrote before took it along
			return err
		default:
			s.write(s.take())
		}
	}
}

// take returns the changes whose turn it is.
func (s *Store) take() []*change {
	s.queueing.Lock()
	defer s.queueing.Unlock()
	n := min(len(s.queue), maxBatch)
	batch := s.queue[:n:n]
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return batch
}

// write makes and commits the changes of a batch, and answers each.
func (s *Store) write(batch []*change) {
	now := s.now.Load()
	t := now.begin()
	answers := make([]error, len(batch))
	finished := false
	defer func() { // also after a panic, or the others would wait for ever
		for i, c := range batch {
			if !finished {
				answers[i] = latchkey.ErrInternal
			}
			c.done <- answers[i]
		}
	}()
	for i, c := range batch {
		if answers[i] = s.refuseClosed(); answers[i] == nil {
			answers[i] = c.fn(t)
		}
	}
	if len(t.changes) > 0 {
		if err := s.put(now, t); err != nil {
			for i := range answers {
				if answers[i] == nil {
					answers[i] = err
				}
			}
		}
	}
	finished = true
}

// put commits what t changed. What is taken away is held back first.
func (s *Store) put(now *snapshot, t *tx) error {
	away := now.held.and(t.taken)
	if len(t.taken) > 0 {
		s.now.Store(&snapshot{state: now.state, held: away, err: now.err})
	}
	if err := s.commit(t.changes); err != nil {
		if len(t.taken) > 0 {
			err = fmt.Errorf("%w; what was removed is refused until this process ends, but a restart would bring it back: try again", err)
		}
		s.now.Store(&snapshot{state: now.state, held: away, err: err})
		return err
	}
	s.now.Store(&snapshot{state: t.state, held: now.held.still(t.state, t.taken)})
	return nil
}

func (s *Store) refuseClosed() error {
	if s.closed {
		return fmt.Errorf("%s: %w", s.path, fs.ErrClosed)
	}
	return nil
}
