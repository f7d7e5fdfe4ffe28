package vault

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// The summary's place. No other record may lie in this bucket.
const (
	aboutBucket = "about"
	summaryKey  = "summary"
)

// An ID says where a record lies. Neither part is empty.
type ID struct{ Bucket, Key string }

// A Record is what lies there: the checksum over bucket, key and payload, then the
// payload. A string, because it never changes. In a change, "" removes.
type Record string

// Seal makes a record.
func Seal(id ID, payload []byte) Record {
	sum := checksum(id, payload)
	return Record(sum[:]) + Record(payload)
}

// Payload returns what Seal was given.
func (r Record) Payload() []byte { return []byte(r[sha256.Size:]) }

// check returns an error if the record is not as Seal made it, or made for
// another place.
func (r Record) check(id ID) error {
	if len(r) < sha256.Size {
		return fmt.Errorf("record %q in %q is too short", id.Key, id.Bucket)
	}
	if sum := checksum(id, r.Payload()); string(sum[:]) != string(r[:sha256.Size]) {
		return fmt.Errorf("record %q in %q does not have its checksum", id.Key, id.Bucket)
	}
	return nil
}

// checksum is the SHA-256 of bucket, key and payload. The lengths before them
// keep one from running into the next.
func checksum(id ID, payload []byte) [sha256.Size]byte {
	b := make([]byte, 0, 24+len(id.Bucket)+len(id.Key)+len(payload))
	b = binary.BigEndian.AppendUint64(b, uint64(len(id.Bucket)))
	b = append(b, id.Bucket...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(id.Key)))
	b = append(b, id.Key...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(payload)))
	b = append(b, payload...)
	return sha256.Sum256(b)
}

// A total describes all records but the summary. A record that was lost, or came
// back from the past, shows here even if its own checksum holds.
type total struct {
	generation uint64 // counts the committed changes
	count      int
	hash       [sha256.Size]byte // the checksums of all records, added by exclusive or
}

// add takes a record in, or, with n -1, out again. Exclusive or needs no order,
// and is enough against damage: whoever can write the file can write the summary
// too.
func (t *total) add(r Record, n int) {
	if r == "" {
		return
	}
	t.count += n
	for i := range t.hash {
		t.hash[i] ^= r[i]
	}
}

// A summary is a total in the form that lies in the file.
type summary struct {
	Version    int    `json:"version"`
	Generation uint64 `json:"generation"`
	Count      int    `json:"count"`
	Hash       string `json:"hash"` // hexadecimal
}

// record returns the summary as a record.
func (t total) record(version int) (ID, Record) {
	id := ID{aboutBucket, summaryKey}
	payload, _ := json.Marshal(summary{version, t.generation, t.count, hex.EncodeToString(t.hash[:])}) // cannot fail: numbers and texts
	return id, Seal(id, payload)
}

// readSummary opens a summary record. The version is looked at before anything
// that a later version could have changed.
func (k *Kind) readSummary(r Record) (version int, t total, err error) {
	if err := r.check(ID{aboutBucket, summaryKey}); err != nil {
		return 0, t, err
	}
	var first struct{ Version int }
	if err := json.Unmarshal(r.Payload(), &first); err != nil {
		return 0, t, fmt.Errorf("the summary cannot be read: %w", err)
	}
	if first.Version > k.Version {
		return 0, t, fmt.Errorf("%w: format %d, and this version reads up to %d", k.Newer, first.Version, k.Version)
	}
	var s summary
	if err := Decode(r.Payload(), &s); err != nil {
		return 0, t, fmt.Errorf("the summary cannot be read: %w", err)
	}
	if n, err := hex.Decode(t.hash[:], []byte(s.Hash[:min(len(s.Hash), 2*sha256.Size)])); err != nil || n != sha256.Size {
		return 0, t, fmt.Errorf("the summary has no hash")
	}
	if s.Version < 1 {
		return 0, t, fmt.Errorf("the summary has no version")
	}
	t.generation, t.count = s.Generation, s.Count
	return s.Version, t, nil
}

// Decode reads a JSON payload. Fields that into does not have are an error.
func Decode(payload []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
