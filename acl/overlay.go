package acl

import (
	"maps"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

// A wish is one record of a change that is being written, or could not be: what
// it would do to a state. While there are wishes, a request must be allowed by the
// state on disk and by the one with all wishes granted. So whatever takes rights
// away holds before it is written, even if that never works; and nothing that was
// not written ever gives a right.
type wish func(*state)

// wishes returns those of tx that are to hold until they are on disk, beside the
// older ones, and whether tx has any. disk is what tx started from. What only adds
// holds nothing: it cannot take away.
func (tx *Tx) wishes(disk *state, older map[vault.ID]wish) (map[vault.ID]wish, bool) {
	all := maps.Clone(older)
	if all == nil {
		all = make(map[vault.ID]wish)
	}
	any, adds := false, tx.addsKey(disk)
	for id, apply := range tx.applied {
		switch id.Bucket {
		case usersBucket, rolesBucket, policiesBucket:
			any = any || disk.has(id)
		case keysBucket:
			if !disk.has(id) {
				continue
			}
			any = true
		case invitesBucket:
			// Only a removal takes away. An invitation that was used to add a
			// key can be used again if that did not work.
			if !disk.has(id) || tx.changes[id] != "" || adds {
				continue
			}
			any = true
		default:
			continue
		}
		all[id] = apply
	}
	if !any {
		return older, false
	}
	return prune(disk, all), true
}

// addsKey reports whether tx adds a key.
func (tx *Tx) addsKey(disk *state) bool {
	for id, r := range tx.changes {
		if id.Bucket == keysBucket && r != "" && !disk.has(id) {
			return true
		}
	}
	return false
}

// granted returns disk with all wishes, nil if there are none.
func granted(disk *state, wishes map[vault.ID]wish) *state {
	if len(wishes) == 0 {
		return nil
	}
	st := disk.clone()
	for _, apply := range wishes {
		apply(st)
	}
	st.resolveLeniently()
	return st
}

// prune drops the wishes that add a record which no other wish refers to. The rest
// is no larger than the store.
func prune(disk *state, wishes map[vault.ID]wish) map[vault.ID]wish {
	for again := true; again; {
		again = false
		st := granted(disk, wishes)
		for id := range wishes {
			if !disk.has(id) && !st.refersTo(id) {
				delete(wishes, id)
				again = true
			}
		}
	}
	return wishes
}

// has reports whether there is a record that decides something.
func (st *state) has(id vault.ID) (ok bool) {
	switch id.Bucket {
	case usersBucket:
		_, ok = st.users[id.Key]
	case keysBucket:
		fp, err := latchkey.FingerprintFromBytes([]byte(id.Key))
		ok = err == nil && st.keys[fp] != nil
	case rolesBucket:
		_, ok = st.roles[id.Key]
	case policiesBucket:
		_, ok = st.policies[id.Key]
	case invitesBucket:
		_, ok = st.invites[id.Key]
	}
	return ok
}

// refersTo reports whether a key belongs to that user, a user has that role, or
// somebody that policy.
func (st *state) refersTo(id vault.ID) bool {
	switch id.Bucket {
	case usersBucket:
		for _, k := range st.keys {
			if k.User == id.Key {
				return true
			}
		}
	case rolesBucket:
		return st.bearer(id.Key) != ""
	case policiesBucket:
		return st.holder(id.Key) != ""
	}
	return false
}
