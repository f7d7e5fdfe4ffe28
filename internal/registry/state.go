package registry

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

// Version is the version of the file format that this package writes.
const Version = 1

// The buckets of the file.
const (
	devicesBucket  = "devices"  // by id: a Device
	tokensBucket   = "tokens"   // by id: what the device uploaded
	usesBucket     = "uses"     // by id, 0 and the 32 bytes of the hash: a number
	operatorBucket = "operator" // by OperatorToken.ID
)

var kind = &vault.Kind{
	Version: Version,
	MaxFile: 1 << 30,
	Buckets: []string{devicesBucket, tokensBucket, usesBucket, operatorBucket},
	Recheck: time.Minute,
	Instead: "move the file away, run init and add the devices again",
	Damaged: ErrDamaged, InUse: ErrInUse, Newer: ErrNewer, Loose: ErrLoose,
}

// A state is everything that a registry holds, decoded. Once it is published it
// never changes, and neither does what its maps point to.
type state struct {
	devices  map[latchkey.DeviceID]*Device
	keys     map[latchkey.Fingerprint]latchkey.DeviceID
	lists    map[latchkey.DeviceID]*list
	uses     map[use]int
	operator map[string]*operatorToken
	hashes   map[[32]byte]string // of operator's tokens, to their IDs
	tokens   int                 // in all lists
}

// A list is what a device uploaded last.
type list struct {
	version uint64
	tokens  map[[32]byte]Token
}

// A use names a count: how often a device's token was used.
type use struct {
	id   latchkey.DeviceID
	hash [32]byte
}

// An operatorToken is an OperatorToken as it lies in the file.
type operatorToken struct {
	OperatorToken
	Hash hash `json:"hash"`
}

// A hash is a token's hash in JSON: hexadecimal.
type hash [32]byte

// MarshalText implements encoding.TextMarshaler.
func (h hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *hash) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(h)) {
		return fmt.Errorf("a hash of %d digits", len(b))
	}
	_, err := hex.Decode(h[:], b)
	return err
}

// A listRecord is a list as it lies in the file.
type listRecord struct {
	ID      latchkey.DeviceID `json:"id"`
	Version uint64            `json:"version"`
	List    []tokenRecord     `json:"list"`
}

type tokenRecord struct {
	Hash    hash                 `json:"hash"`
	Key     latchkey.Fingerprint `json:"key,omitzero"`
	Expires time.Time            `json:"expires,omitzero"`
	Uses    int                  `json:"uses,omitempty"`
}

func newState() *state {
	return &state{
		devices:  make(map[latchkey.DeviceID]*Device),
		keys:     make(map[latchkey.Fingerprint]latchkey.DeviceID),
		lists:    make(map[latchkey.DeviceID]*list),
		uses:     make(map[use]int),
		operator: make(map[string]*operatorToken),
		hashes:   make(map[[32]byte]string),
	}
}

func (u use) record() vault.ID {
	return vault.ID{Bucket: usesBucket, Key: u.id.String() + "\x00" + string(u.hash[:])}
}

// seal makes a record of a value that JSON can always write.
func seal(id vault.ID, value any) vault.Record {
	payload, err := json.Marshal(value)
	if err != nil {
		panic("registry: " + err.Error()) // a year past 9999, which every writer refuses before
	}
	return vault.Seal(id, payload)
}

// load decodes all records, or refuses them.
func (st *state) load(records map[vault.ID]vault.Record) error {
	for _, bucket := range []string{devicesBucket, tokensBucket, usesBucket, operatorBucket} {
		for id, r := range records {
			if id.Bucket != bucket {
				continue
			}
			if err := st.loadOne(id, r.Payload()); err != nil {
				return fmt.Errorf("record %q in %q: %w", id.Key, id.Bucket, err)
			}
		}
	}
	return nil
}

func (st *state) loadOne(id vault.ID, payload []byte) error {
	switch id.Bucket {
	case devicesBucket:
		return st.loadDevice(id.Key, payload)
	case tokensBucket:
		return st.loadList(id.Key, payload)
	case usesBucket:
		return st.loadUse(id.Key, payload)
	}
	var t operatorToken
	if err := vault.Decode(payload, &t); err != nil {
		return err
	}
	if t.ID != id.Key {
		return fmt.Errorf("the content belongs to %q", t.ID)
	}
	if st.hashes[t.Hash] != "" {
		return fmt.Errorf("token %q is the same", st.hashes[t.Hash])
	}
	st.operator[t.ID], st.hashes[t.Hash] = &t, t.ID
	return t.check()
}

func (st *state) loadDevice(key string, payload []byte) error {
	var d Device
	if err := vault.Decode(payload, &d); err != nil {
		return err
	}
	if d.ID.String() != key || !d.ID.Valid() {
		return fmt.Errorf("the content belongs to %q", d.ID)
	}
	st.devices[d.ID] = &d
	for _, k := range d.Keys {
		if other, ok := st.keys[k.Fingerprint]; ok || k.Fingerprint.IsZero() {
			return fmt.Errorf("key %s belongs to %q too", k.Fingerprint, other)
		}
		st.keys[k.Fingerprint] = d.ID
	}
	return nil
}

func (st *state) loadList(key string, payload []byte) error {
	var r listRecord
	if err := vault.Decode(payload, &r); err != nil {
		return err
	}
	if r.ID.String() != key || st.devices[r.ID] == nil {
		return fmt.Errorf("there is no device %q", r.ID)
	}
	l := &list{r.Version, make(map[[32]byte]Token, len(r.List))}
	for _, t := range r.List {
		l.tokens[t.Hash] = Token{t.Hash, t.Key, t.Expires, t.Uses}
	}
	if len(l.tokens) != len(r.List) {
		return fmt.Errorf("a token stands there twice")
	}
	st.lists[r.ID] = l
	st.tokens += len(l.tokens)
	return nil
}

func (st *state) loadUse(key string, payload []byte) error {
	var n int
	if err := vault.Decode(payload, &n); err != nil {
		return err
	}
	cut := len(key) - 33
	if cut < 0 || key[cut] != 0 {
		return fmt.Errorf("it belongs to no token")
	}
	id, err := latchkey.ParseDeviceID(key[:cut])
	if err != nil {
		return err
	}
	u := use{id: id, hash: [32]byte([]byte(key[cut+1:]))}
	if l := st.lists[id]; l == nil || l.tokens[u.hash].Uses == 0 || n < 1 {
		return fmt.Errorf("it belongs to no token")
	}
	st.uses[u] = n
	return nil
}
