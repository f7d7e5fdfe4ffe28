package registry

import (
	"bytes"
	"maps"
	"slices"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

// A tx changes a state and notes the records to be written. Its methods cannot
// fail; their callers have checked.
type tx struct {
	*state  // shares its maps with the present one until they are owned
	owned   part
	changes map[vault.ID]vault.Record
	taken   []grant // what was in force and is so no more
}

// A part is some of the maps of a state.
type part uint8

const (
	ofDevices  part = 1 << iota // devices, keys
	ofLists                     // lists
	ofUses                      // uses
	ofOperator                  // operator, hashes
)

func (st *state) begin() *tx {
	shared := *st
	return &tx{state: &shared, changes: make(map[vault.ID]vault.Record)}
}

// own copies a part before its first change.
func (t *tx) own(p part) {
	if t.owned&p != 0 {
		return
	}
	t.owned |= p
	switch p {
	case ofDevices:
		t.devices, t.keys = maps.Clone(t.devices), maps.Clone(t.keys)
	case ofLists:
		t.lists = maps.Clone(t.lists)
	case ofUses:
		t.uses = maps.Clone(t.uses)
	case ofOperator:
		t.operator, t.hashes = maps.Clone(t.operator), maps.Clone(t.hashes)
	}
}

func (t *tx) putDevice(d *Device) {
	t.own(ofDevices)
	if old := t.devices[d.ID]; old != nil {
		for _, k := range old.Keys {
			delete(t.keys, k.Fingerprint)
		}
	}
	for _, k := range d.Keys {
		t.keys[k.Fingerprint] = d.ID
	}
	t.devices[d.ID] = d
	id := vault.ID{Bucket: devicesBucket, Key: d.ID.String()}
	t.changes[id] = seal(id, d)
}

func (t *tx) dropDevice(d *Device) {
	t.own(ofDevices)
	for _, k := range d.Keys {
		delete(t.keys, k.Fingerprint)
		t.taken = append(t.taken, grant{key: k.Fingerprint})
	}
	t.dropList(d.ID)
	delete(t.devices, d.ID)
	t.changes[vault.ID{Bucket: devicesBucket, Key: d.ID.String()}] = ""
}

func (t *tx) dropList(id latchkey.DeviceID) {
	l := t.lists[id]
	if l == nil {
		return
	}
	t.own(ofLists)
	for hash := range l.tokens {
		t.dropToken(use{id, hash})
	}
	t.tokens -= len(l.tokens)
	delete(t.lists, id)
	t.changes[vault.ID{Bucket: tokensBucket, Key: id.String()}] = ""
}

// dropToken forgets a device's token, but not its place in the list.
func (t *tx) dropToken(u use) {
	t.taken = append(t.taken, grant{token: u})
	t.dropUse(u)
}

func (t *tx) dropUse(u use) {
	if _, ok := t.uses[u]; ok {
		t.own(ofUses)
		delete(t.uses, u)
		t.changes[u.record()] = ""
	}
}

// putList replaces a device's list. Counts stay with the tokens that stay. A
// token that is narrowed counts as taken away until the narrower one is in force.
func (t *tx) putList(id latchkey.DeviceID, next *list) {
	t.own(ofLists)
	if old := t.lists[id]; old != nil {
		t.tokens -= len(old.tokens)
		for hash, was := range old.tokens {
			is, stays := next.tokens[hash]
			switch {
			case !stays:
				t.dropToken(use{id, hash})
			case narrower(was, is):
				t.taken = append(t.taken, grant{token: use{id, hash}})
			}
			if stays && is.Uses == 0 {
				t.dropUse(use{id, hash})
			}
		}
	}
	t.tokens += len(next.tokens)
	t.lists[id] = next
	r := listRecord{ID: id, Version: next.version, List: make([]tokenRecord, 0, len(next.tokens))}
	for _, token := range next.tokens {
		r.List = append(r.List, tokenRecord{token.Hash, token.Key, token.Expires, token.Uses})
	}
	slices.SortFunc(r.List, func(a, b tokenRecord) int { return bytes.Compare(a.Hash[:], b.Hash[:]) })
	at := vault.ID{Bucket: tokensBucket, Key: id.String()}
	t.changes[at] = seal(at, r)
}

// narrower reports whether is refuses what was allowed.
func narrower(was, is Token) bool {
	return !is.Key.IsZero() && is.Key != was.Key ||
		!is.Expires.IsZero() && (was.Expires.IsZero() || is.Expires.Before(was.Expires)) ||
		is.Uses != 0 && (was.Uses == 0 || is.Uses < was.Uses)
}

func (t *tx) putUse(u use, n int) {
	t.own(ofUses)
	t.uses[u] = n
	t.changes[u.record()] = seal(u.record(), n)
}

func (t *tx) putOperator(token *operatorToken) {
	t.own(ofOperator)
	t.operator[token.ID], t.hashes[token.Hash] = token, token.ID
	id := vault.ID{Bucket: operatorBucket, Key: token.ID}
	t.changes[id] = seal(id, token)
}

func (t *tx) dropOperator(token *operatorToken) {
	t.own(ofOperator)
	t.taken = append(t.taken, grant{operator: token.ID})
	delete(t.operator, token.ID)
	delete(t.hashes, token.Hash)
	t.changes[vault.ID{Bucket: operatorBucket, Key: token.ID}] = ""
}
