package acl

import (
	"cmp"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

// A revocation remembers that a key was removed, so that no backup from before
// brings it back.
type revocation struct {
	At     time.Time `json:"at"`             // by the clock of the machine
	Change uint64    `json:"change"`         // the generation that it came with; clocks may go wrong, this does not
	Self   string    `json:"self,omitempty"` // the user who removed its own key; empty when somebody else did
}

// By says which user makes this change. What users remove of themselves is
// remembered within a share of theirs; see Revoked.
func (tx *Tx) By(user string) { tx.by = user }

// Revoked says when a key was removed. It is false for a key that was never here,
// was added again, or has been forgotten: of the keys that a user removed itself,
// the last MaxRevokedOwn are remembered, and of all the last MaxRevoked. Those that
// somebody else removed never give way to those.
func (tx *Tx) Revoked(fp latchkey.Fingerprint) (time.Time, bool) {
	r, ok := tx.state.revoked[fp]
	return r.At, ok
}

// revoke puts a key on the list of removed ones.
func (tx *Tx) revoke(fp latchkey.Fingerprint, owner string) error {
	r := revocation{At: plainTime(time.Now()), Change: tx.state.generation}
	if owner == tx.by {
		r.Self = owner
	}
	return tx.putRevocation(fp, r)
}

func (tx *Tx) putRevocation(fp latchkey.Fingerprint, r revocation) error {
	return tx.put(revokedID(fp), r, func(st *state) { st.revoked[fp] = r })
}

// renameRevoked makes the share of a user follow its name.
func (tx *Tx) renameRevoked(from, to string) error {
	for fp, r := range tx.state.revoked {
		if r.Self == from {
			r.Self = to
			if err := tx.putRevocation(fp, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// forgive takes a key off it.
func (tx *Tx) forgive(fp latchkey.Fingerprint) error {
	if _, ok := tx.state.revoked[fp]; !ok {
		return nil
	}
	return tx.drop(revokedID(fp), func(st *state) { delete(st.revoked, fp) })
}

// trimRevoked drops the oldest revocations beyond the limits.
func (tx *Tx) trimRevoked() error {
	if tx.by != "" {
		own := func(r revocation) bool { return r.Self == tx.by }
		if err := tx.forget(own, tx.countRevoked(own)-MaxRevokedOwn); err != nil {
			return err
		}
	}
	self := func(r revocation) bool { return r.Self != "" }
	if err := tx.forget(self, len(tx.state.revoked)-MaxRevoked); err != nil {
		return err
	}
	return tx.forget(func(revocation) bool { return true }, len(tx.state.revoked)-MaxRevoked)
}

func (tx *Tx) countRevoked(which func(revocation) bool) (n int) {
	for _, r := range tx.state.revoked {
		if which(r) {
			n++
		}
	}
	return n
}

// forget drops the oldest n of some revocations, or all of them.
func (tx *Tx) forget(which func(revocation) bool, n int) error {
	if n <= 0 {
		return nil
	}
	list := tx.state.revoked
	var some []latchkey.Fingerprint
	for fp, r := range list {
		if which(r) {
			some = append(some, fp)
		}
	}
	slices.SortFunc(some, func(a, b latchkey.Fingerprint) int {
		return cmp.Or(cmp.Compare(list[a].Change, list[b].Change), list[a].At.Compare(list[b].At))
	})
	for _, fp := range some[:min(n, len(some))] {
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
