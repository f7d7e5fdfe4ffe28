package acl

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/latchkey-dev/latchkey/internal/vault"
)

// An Anchor says how long the audit log was, and what its last record was, when
// that was last written here. A log that is shorter was cut.
type Anchor struct {
	Count uint64   // records
	Head  [32]byte // hash of the last one
}

// Anchor returns what SetAnchor stored last, the zero Anchor before the first
// time.
func (s *Store) Anchor() Anchor { return *s.anchor.Load() }

// SetAnchor stores a. When it returns nil, a is on disk. Nothing is decided by
// it: nobody is woken and Err does not tell of it.
func (s *Store) SetAnchor(a Anchor) error {
	payload, err := json.Marshal(storedAnchor{a.Count, hex.EncodeToString(a.Head[:])})
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed {
		return fmt.Errorf("%s: %w", s.path, fs.ErrClosed)
	}
	if err := s.commit(map[vault.ID]vault.Record{anchorID: vault.Seal(anchorID, payload)}); err != nil {
		return err
	}
	s.anchor.Store(&a)
	return nil
}

// storedAnchor is the form in the file.
type storedAnchor struct {
	Count uint64 `json:"count"`
	Head  string `json:"head"` // hexadecimal
}

var anchorID = vault.ID{Bucket: anchorBucket, Key: "audit"}

// loadAnchor adds what the record says, and returns where it belongs.
func (st *state) loadAnchor(payload []byte) (string, error) {
	var stored storedAnchor
	if err := vault.Decode(payload, &stored); err != nil {
		return "", err
	}
	head, err := hex.DecodeString(stored.Head)
	if err != nil || len(head) != len(st.anchor.Head) {
		return "", errors.New("an anchor has a hash")
	}
	st.anchor = Anchor{Count: stored.Count, Head: [32]byte(head)}
	return anchorID.Key, nil
}
