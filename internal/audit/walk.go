package audit

import (
	"crypto/ecdsa"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// A walker follows the chain through files, oldest first. At the first record
// that does not fit it stops to follow and only looks for what tells what
// happened.
type walker struct {
	key    *ecdsa.PublicKey
	signer latchkey.Fingerprint // of key
	anchor acl.Anchor

	named   uint64 // number of the first record, as the name of its file says
	oldest  uint64 // number of the first record
	n       uint64 // of the last record that fits; 0: none was seen
	hash    string
	next    place  // where the record after n has to be
	end     place  // the same, but in the file before
	good    int64  // offset behind n in its file
	sealed  uint64 // the last checkpoint that key signed
	suspect place  // of the record after it
	closed  bool   // n is the checkpoint of a Close
	atEnd   bool   // the anchor's record was seen, and is right
	records uint64
	lost    uint64 // that records of losses speak of
	first   uint64 // the oldest record that has to be there, as key signed it
	begun   bool   // key signed the begin of the last file
	claimed uint64 // the same, as any chained checkpoint says
	torn    int64  // bytes of a record that is not complete, at the end

	fault *Fault
	after aftermath
}

// A place is a line of a file.
type place struct {
	file string
	line int
}

// aftermath is what is seen behind the first record that does not fit.
type aftermath struct {
	bad    uint64 // the number that it says it has; 0: it is no record
	next   uint64 // number of the record behind it; 0: none
	lines  uint64
	wanted bool // the record that should have been there comes later
	sealed bool // a checkpoint that key signed comes later
	known  bool // What is decided
}

// files walks through all files. It returns errors of reading only.
func (w *walker) files(files logFiles) error {
	if len(files) > 0 {
		w.named = files[0].number()
	}
	for i, f := range files {
		w.end, w.next = w.next, place{f.name, 1}
		w.good, w.begun = 0, false
		ls := newLines(f.f)
		ls.named = f.number()
		for ls.next() {
			w.line(ls)
		}
		if ls.err != nil {
			return ls.err
		}
		if ls.torn > 0 && w.fault == nil {
			if last := i == len(files)-1; last && w.n >= w.anchor.Count && ls.torn <= maxLine {
				w.torn = ls.torn
			} else if last && w.n < w.anchor.Count {
				w.fail(&Fault{What: Cut, N: w.n + 1})
			} else {
				w.refuse(Changed, 0)
			}
		}
	}
	if w.fault == nil && w.n < w.anchor.Count {
		w.fail(&Fault{What: Cut, N: w.n + 1, Last: w.anchor.Count})
	}
	w.decide()
	return nil
}

func (w *walker) line(ls *lines) {
	r, err := parse(ls.text)
	vouched := err == nil && r.vouched(w.key)
	if vouched {
		w.begun = w.begun || ls.n == 1 && r.First > 0
		w.first = max(w.first, r.First)
	}
	if w.fault != nil {
		w.look(r, vouched)
		return
	}
	if w.hash == "" && err == nil && r.First > 0 && (w.named == 0 || w.named == r.N) {
		w.n, w.hash, w.oldest = r.N-1, r.Prev, r.N // nothing is known of what was before
		w.suspect = w.next
	}
	switch {
	case err != nil:
		w.refuse(Changed, 0)
	case w.hash == "": // the first file lacks its begin
		w.refuse(Removed, r.N)
	case r.N != w.n+1:
		w.refuse(Removed, r.N)
		if r.First > 0 && ls.n == 1 && r.N > w.n && (ls.named == 0 || ls.named == r.N) { // the begin of this file is there
			w.fault.File, w.fault.Line = w.end.file, w.end.line
		}
	case r.Prev != "" && r.Prev != w.hash && r.follows(r.Prev, ls.text) && vouched:
		w.forged(w.n)
		w.look(r, vouched)
	case !r.follows(w.hash, ls.text):
		w.refuse(Changed, r.N)
	default:
		w.accept(r, vouched, ls)
	}
}

// accept takes a record that fits into the chain; only a signature or the anchor
// can speak against it.
func (w *walker) accept(r *Record, vouched bool, ls *lines) {
	foreign := r.Key != w.signer && w.sealed == 0 // a former key of the device: the first checkpoint of the present one vouches for it
	isAnchor := r.N == w.anchor.Count
	if r.Kind == KindCheckpoint && r.Sig != "" && !vouched && !foreign || isAnchor && r.Hash != headOf(w.anchor) {
		w.forged(r.N)
		return
	}
	if w.closed && !vouched { // a start signs before anything else is written
		w.refuse(Inserted, r.N)
		w.after.known = true
		return
	}
	w.n, w.hash, w.good = r.N, r.Hash, ls.end
	w.next.line = ls.n + 1
	w.records++
	w.atEnd = w.atEnd || isAnchor
	w.closed = vouched && r.Detail == detailClosed
	if r.Kind == acl.EventAuditLost {
		w.lost += r.Repeats
	}
	if r.First > 0 {
		w.claimed = r.First
	}
	if vouched {
		w.sealed, w.suspect = r.N, w.next
	}
}

// refuse stops following at a record that does not fit, which says that its
// number is bad.
func (w *walker) refuse(what What, bad uint64) {
	w.fail(&Fault{What: what, N: w.n + 1})
	if w.hash == "" {
		w.fault.N = max(w.named, 1)
	}
	w.after.bad = bad
}

// forged stops following because what came since the last checkpoint, up to
// record last, is not what was written.
func (w *walker) forged(last uint64) {
	w.fault = &Fault{What: Forged, File: w.suspect.file, Line: w.suspect.line, N: max(w.sealed+1, w.oldest), Last: last}
	w.after.known = true
}

func (w *walker) fail(f *Fault) {
	f.File, f.Line = w.next.file, w.next.line
	w.fault = f
	w.after.known = f.What == Cut
}

// look takes notes of a line behind the fault.
func (w *walker) look(r *Record, vouched bool) {
	a := &w.after
	a.lines++
	if r == nil {
		return
	}
	if a.lines == 1 {
		a.next = r.N
	}
	a.wanted = a.wanted || r.N == w.fault.N
	a.sealed = a.sealed || vouched
}

// decide says what happened, now that all is seen.
func (w *walker) decide() {
	a := &w.after
	if w.fault == nil || a.known {
		return
	}
	want := w.fault.N
	switch {
	case a.next == want && a.bad <= want:
		w.fault.What = Inserted
	case a.bad > want && a.wanted:
		w.fault.What = Reordered
	case a.bad == 0 || a.bad == want || a.next == want+1:
		w.fault.What = Changed
	case a.bad > want:
		w.fault.What = Removed
		w.fault.Last = a.bad - 1
	default:
		w.fault.What = Inserted
	}
}
