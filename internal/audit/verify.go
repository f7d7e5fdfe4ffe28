package audit

import (
	"crypto"
	"crypto/ecdsa"
	"fmt"

	"github.com/latchkey-dev/latchkey"

	"github.com/latchkey-dev/latchkey/acl"
)

// A What says what happened to a log.
type What string

// What can happen to a log.
const (
	Changed   What = "changed"   // a record is not what was written
	Removed   What = "removed"   // records are not there
	Reordered What = "reordered" // a record is there, but later
	Inserted  What = "inserted"  // a record is there that was not written, or not there
	Cut       What = "cut"       // the last records are not there
	Forged    What = "forged"    // records were changed and the chain made anew, so that only signature or anchor tell
)

// A Fault is the first place at which a log is not what the device wrote.
type Fault struct {
	What What   `json:"what"`
	File string `json:"file"`
	Line int    `json:"line"` // from 1: where the record is, or would have to be
	N    uint64 `json:"n"`    // number of the record; 0: not known
	// Last is, of records that were removed or cut, the last of them; of forged
	// ones, the last that may be. Zero: only N.
	Last uint64 `json:"last,omitzero"`
}

// Error names file, line and record.
func (f *Fault) Error() string {
	which := fmt.Sprintf("record %d", f.N)
	if f.Last > f.N {
		which = fmt.Sprintf("records %d to %d", f.N, f.Last)
	}
	at := fmt.Sprintf("%s:%d: ", f.File, f.Line)
	switch f.What {
	case Removed, Cut:
		return at + which + " missing: removed"
	case Reordered:
		return at + which + " is not here but later: moved"
	case Inserted:
		return at + "a record that does not belong here: inserted"
	case Forged:
		return at + which + ": changed in at least one place, and the hashes made anew"
	}
	if f.N == 0 {
		return at + "not a record: changed"
	}
	return at + which + ": changed"
}

// A Report says what Verify has seen. After a Fault it is about what is before.
type Report struct {
	Files    int    `json:"files"`
	First    uint64 `json:"first"`    // number of the oldest record
	Last     uint64 `json:"last"`     // and of the newest one
	Sealed   uint64 `json:"sealed"`   // the last checkpoint: all up to it is vouched for by the key
	Anchored uint64 `json:"anchored"` // all up to it is vouched for by the anchor
	Lost     uint64 `json:"lost"`     // events that could not be written, as the log itself says
	Torn     int64  `json:"torn"`     // bytes of a last record that a crash left, or that is being written
}

// Verify follows the log in dir from its oldest record to its newest. key is the
// device's public key. Take the anchor before the call when the log is in use.
// A zero anchor is not compared. The error is a *Fault if the log is not what the
// device wrote, and another one if it cannot be read. A log without files is fine
// if there is no anchor.
//
// Records of the last seconds before a crash, which no anchor and no checkpoint
// covers, could be cut off or added to unnoticed; the Report says how far the
// vouching goes.
func Verify(dir string, key crypto.PublicKey, anchor acl.Anchor) (Report, error) {
	w, err := newWalker(key, anchor)
	if err != nil {
		return Report{}, err
	}
	files, err := openFiles(dir)
	if err != nil {
		return Report{}, err
	}
	defer files.close()
	w.next = place{current, 1}
	if err := w.files(files); err != nil {
		return Report{}, err
	}
	report := Report{Files: len(files), First: w.oldest, Last: w.n, Sealed: w.sealed, Lost: w.lost, Torn: w.torn}
	if w.atEnd {
		report.Anchored = anchor.Count
	}
	switch {
	case w.oldest > w.first && w.first > 0 && (w.fault == nil || w.begun && w.fault.What != Cut):
		return report, &Fault{What: Removed, File: files[0].name, Line: 1, N: w.first, Last: w.oldest - 1}
	case w.fault != nil:
		return report, w.fault
	case w.records > 0 && w.sealed == 0:
		return report, &Fault{What: Forged, File: files[0].name, Line: 1, N: w.oldest, Last: w.n}
	}
	return report, nil
}

func newWalker(key crypto.PublicKey, anchor acl.Anchor) (*walker, error) {
	signer, err := latchkey.FingerprintOf(key)
	if err != nil {
		return nil, err
	}
	return &walker{key: key.(*ecdsa.PublicKey), signer: signer, anchor: anchor}, nil
}
