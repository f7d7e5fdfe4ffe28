package acl

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// A Store keeps users, keys, roles, policies and settings in one file.
type Store struct{}

// Create makes a new store with the default roles at path, which must not exist
// (fs.ErrExist), and opens it.
func Create(path string) (*Store, error) { return nil, errors.ErrUnsupported }

// Open opens the store at path. A file that is missing is fs.ErrNotExist: only
// Create makes one.
func Open(path string) (*Store, error) { return nil, errors.ErrUnsupported }

// View runs fn on the present state.
func (s *Store) View(fn func(*Tx) error) error { return errors.ErrUnsupported }

// Update runs fn on a copy of the present state and commits it.
func (s *Store) Update(fn func(*Tx) error) error { return errors.ErrUnsupported }

// Lookup says whose key fp is.
func (s *Store) Lookup(fp latchkey.Fingerprint) (Subject, bool) { return Subject{}, false }

// Authorize decides r. It returns nil, latchkey.ErrForbidden or
// latchkey.ErrUnpaired.
func (s *Store) Authorize(ctx context.Context, r *Request) error { return latchkey.ErrForbidden }

// Explain decides r as Authorize does and says why.
func (s *Store) Explain(r *Request) Decision { return Decision{} }

// Changed returns a channel that is closed at the next committed change.
func (s *Store) Changed() <-chan struct{} { return nil }

// Close releases the file.
func (s *Store) Close() error { return nil }

// mistake is an error in something that a person wrote.
func mistake(format string, args ...any) error { return fmt.Errorf(format, args...) }
