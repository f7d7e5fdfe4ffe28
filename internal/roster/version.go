package roster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// versionBytes is how much of a hash makes a version: as much as a CoAP ETag
// holds (RFC 7252 section 5.10.6).
const versionBytes = 8

// version names the state that v describes, in 16 hex digits. It is a comparison
// with what an honest administrator has read, not a proof.
func version(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "" // records of the store can be written, or they would not be in it
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:versionBytes])
}

// check refuses a change of what is at version now. "" stands for nothing there.
func (t Terms) check(what, name, now string) error {
	if now == "" {
		now = Absent
	}
	if t.Version == "" || t.Version == now {
		return nil
	}
	if t.Version == Absent {
		return fmt.Errorf("%s %q is there already: %w", what, name, latchkey.ErrConflict)
	}
	return fmt.Errorf("%s %q was changed by somebody else: look at it and try again: %w", what, name, latchkey.ErrConflict)
}
