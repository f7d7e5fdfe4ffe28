package acl

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// Version is the version of the file format that this package writes. It opens
// no later one.
const Version = 1

// The buckets of the file. aboutBucket holds one record, the summary.
const (
	usersBucket    = "users"
	keysBucket     = "keys" // by the 32 bytes of the fingerprint
	rolesBucket    = "roles"
	policiesBucket = "policies"
	settingsBucket = "settings"
	aboutBucket    = "about"
	summaryKey     = "summary"
)

var buckets = []string{usersBucket, keysBucket, rolesBucket, policiesBucket, settingsBucket, aboutBucket}

// A recordID says where a record lies.
type recordID struct{ bucket, key string }

// A record is what lies there: the checksum over bucket, key and payload, then
// the payload, which is JSON. A string, because it never changes.
type record string

// seal makes a record.
func seal(id recordID, payload []byte) record {
	sum := checksum(id, payload)
	return record(sum[:]) + record(payload)
}

// payload returns what seal was given, or an error if the record is not as seal
// made it, or made for another place.
func (r record) payload(id recordID) ([]byte, error) {
	if len(r) < sha256.Size {
		return nil, fmt.Errorf("record %q in %q is too short", id.key, id.bucket)
	}
	payload := []byte(r[sha256.Size:])
	if sum := checksum(id, payload); string(sum[:]) != string(r[:sha256.Size]) {
		return nil, fmt.Errorf("record %q in %q does not have its checksum", id.key, id.bucket)
	}
	return payload, nil
}

// checksum is the SHA-256 of bucket, key and payload. The lengths before them
// keep one from running into the next.
func checksum(id recordID, payload []byte) [sha256.Size]byte {
	b := make([]byte, 0, 24+len(id.bucket)+len(id.key)+len(payload))
	b = binary.BigEndian.AppendUint64(b, uint64(len(id.bucket)))
	b = append(b, id.bucket...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(id.key)))
	b = append(b, id.key...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(payload)))
	b = append(b, payload...)
	return sha256.Sum256(b)
}

// A summary describes all records but itself. A record that was lost, or came
// back from the past, shows here even if its own checksum holds.
type summary struct {
	Version    int    `json:"version"`
	Generation uint64 `json:"generation"` // counts the committed changes
	Count      int    `json:"count"`
	Hash       string `json:"hash"` // hexadecimal: the checksums of all records, added by exclusive or
}

// summarize computes the summary of a state.
func (st *state) summarize() summary { return summarize(st.records, st.generation) }

// summarize computes the summary of records that have their checksums. Exclusive
// or needs no order, and is enough against damage: whoever can write the file can
// write the summary too.
func summarize(records map[recordID]record, generation uint64) summary {
	var all [sha256.Size]byte
	for _, r := range records {
		for i := range all {
			all[i] ^= r[i]
		}
	}
	return summary{Version: Version, Generation: generation, Count: len(records), Hash: hex.EncodeToString(all[:])}
}

// record returns the summary as the record that it is stored as.
func (s summary) record() (recordID, record) {
	id := recordID{aboutBucket, summaryKey}
	payload, _ := json.Marshal(s) // cannot fail: two numbers and two texts
	return id, seal(id, payload)
}

// readSummary opens a summary record. The version is looked at before anything
// that a later version could have changed.
func readSummary(r record) (s summary, err error) {
	payload, err := r.payload(recordID{aboutBucket, summaryKey})
	if err != nil {
		return s, err
	}
	var version struct{ Version int }
	if err := json.Unmarshal(payload, &version); err != nil {
		return s, fmt.Errorf("the summary cannot be read: %w", err)
	}
	if version.Version > Version {
		return s, fmt.Errorf("%w: format %d, and this version reads up to %d", ErrNewer, version.Version, Version)
	}
	if err := decode(payload, &s); err != nil {
		return s, fmt.Errorf("the summary cannot be read: %w", err)
	}
	return s, nil
}

// decode reads JSON that this package wrote.
func decode(payload []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// load adds a record, whose checksum was compared, to a state.
func (st *state) load(id recordID, r record) (err error) {
	payload := []byte(r[sha256.Size:])
	var key string // where a record with this content belongs
	switch id.bucket {
	case usersBucket:
		key, err = st.loadUser(payload)
	case keysBucket:
		key, err = st.loadKey(payload)
	case rolesBucket:
		var role Role
		err = decode(payload, &role)
		key, st.roles[role.Name] = role.Name, &role
	case policiesBucket:
		var p *Policy
		if p, err = ParsePolicy("policy "+id.key, payload); err == nil {
			key, st.policies[p.name] = p.name, p
		}
	case settingsBucket:
		var value string
		err = decode(payload, &value)
		key, st.settings[id.key] = id.key, value
	default:
		err = fmt.Errorf("unknown bucket %q", id.bucket)
	}
	if err == nil && key != id.key {
		err = fmt.Errorf("the content belongs to %q", key)
	}
	if err != nil {
		return fmt.Errorf("record %q in %q: %w", id.key, id.bucket, err)
	}
	st.records[id] = r
	return nil
}

func (st *state) loadUser(payload []byte) (string, error) {
	var u User
	if err := decode(payload, &u); err != nil {
		return "", err
	}
	clean, err := u.clean()
	if err != nil {
		return "", err
	}
	if twin, ok := st.folded[foldName(u.Name)]; ok {
		return "", fmt.Errorf("user %q is there too", twin)
	}
	st.putUser(clean)
	return u.Name, nil
}

func (st *state) loadKey(payload []byte) (string, error) {
	var k Key
	if err := decode(payload, &k); err != nil {
		return "", err
	}
	clean, err := k.clean()
	if err != nil {
		return "", err
	}
	st.keys[k.Fingerprint] = clean
	return keyID(k.Fingerprint).key, nil
}

func keyID(fp latchkey.Fingerprint) recordID { return recordID{keysBucket, string(fp.Bytes())} }
