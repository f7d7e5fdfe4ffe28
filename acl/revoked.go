package acl

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

// A revocation remembers that a key was removed, so that no backup from before
// brings it back.
type revocation struct {
	At     time.Time `json:"at"`     // by the clock of the machine
	Change uint64    `json:"change"` // the generation that it came with; clocks may go wrong, this does not
}

// Revoked says when a key was removed. It is false for a key that was never here,
// was added again, or was removed before the last MaxRevoked keys were.
func (tx *Tx) Revoked(fp latchkey.Fingerprint) (time.Time, bool) {
	r, ok := tx.state.revoked[fp]
	return r.At, ok
}

// revoke puts a key on the list of removed ones.
func (tx *Tx) revoke(fp latchkey.Fingerprint) error {
	r := revocation{At: plainTime(time.Now()), Change: tx.state.generation}
	return tx.put(revokedID(fp), r, func(st *state) { st.revoked[fp] = r })
}

// forgive takes a key off it.
func (tx *Tx) forgive(fp latchkey.Fingerprint) error {
	if _, ok := tx.state.revoked[fp]; !ok {
		return nil
	}
	return tx.drop(revokedID(fp), func(st *state) { delete(st.revoked, fp) })
}

// trimRevoked drops the oldest revocations beyond MaxRevoked.
func (tx *Tx) trimRevoked() error {
	list := tx.state.revoked
	excess := len(list) - MaxRevoked
	if excess <= 0 {
		return nil
	}
	oldest := slices.SortedFunc(maps.Keys(list), func(a, b latchkey.Fingerprint) int {
		return cmp.Or(cmp.Compare(list[a].Change, list[b].Change), list[a].At.Compare(list[b].At))
	})
	for _, fp := range oldest[:excess] {
		if err := tx.forgive(fp); err != nil {
			return err
		}
	}
	return nil
}

func revokedID(fp latchkey.Fingerprint) vault.ID {
	return vault.ID{Bucket: revokedBucket, Key: string(fp.Bytes())}
}

// loadRevoked adds what one record says.
func (st *state) loadRevoked(key string, payload []byte) (string, error) {
	fp, err := latchkey.FingerprintFromBytes([]byte(key))
	if err != nil {
		return "", err
	}
	var r revocation
	if err := vault.Decode(payload, &r); err != nil {
		return "", err
	}
	st.revoked[fp] = r
	return key, nil
}
