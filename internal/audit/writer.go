package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

const (
	syncDelay  = 500 * time.Millisecond // that a record which is no change waits for the disk
	retryDelay = time.Second            // after a failure
	sealEvery  = 256                    // records between checkpoints
	maxPending = 512 << 10              // bytes of records that are not known to be on disk
	hurry      = maxPending / 4         // from so many on there is no delay
)

// A file is what the writer needs of an *os.File.
type file interface {
	WriteAt(b []byte, at int64) (int, error)
	Sync() error
	Stat() (os.FileInfo, error)
	Close() error
}

// A writer owns the end of the log. Records are appended to pending, and stay
// there until a sync has succeeded: whatever fails before is done once more, at
// the same place and with the same bytes.
type writer struct {
	dir      string
	identity *latchkey.Identity
	log      *slog.Logger
	now      func() time.Time
	maxFile  int64
	keep     int
	open     func(path string, there bool) (file, error)
	anchors  *anchors

	end   acl.Anchor // of what was appended
	hash  string     // of end, in digits
	first uint64     // the oldest record that is kept
	begin uint64     // number of the first record in the current file
	seal  uint64     // number of the last checkpoint

	file    file      // nil: to be opened
	extra   int64     // bytes that it may have beyond maxFile
	named   bool      // the file's name is on disk
	looked  time.Time // when the file was last seen in its place
	synced  int64     // bytes of the file that are on disk
	tried   int64     // bytes of the file that were written
	pending []byte    // all from synced on
	doomed  []string
	due     time.Time // when to sync, or to try again; zero: nothing to do
	failing bool
}

// append adds a record to the log, in a new file if the present one is full.
func (w *writer) append(r *Record) {
	if w.synced+int64(len(w.pending))+maxLine > w.maxFile+w.extra && w.end.Count > w.begin {
		w.rotate()
	}
	w.chain(r)
	if w.end.Count-w.seal >= sealEvery {
		w.checkpoint("", acl.OutcomeOK, 0)
	}
}

func (w *writer) chain(r *Record) {
	r.N = w.end.Count + 1
	w.pending = r.line(w.pending, w.hash)
	w.end, w.hash = anchorOf(r.N, r.Hash), r.Hash
	if w.due.IsZero() {
		w.due = time.Now().Add(syncDelay)
	}
}

// checkpoint appends a signed record. If the key cannot sign, the record is
// there without a signature and vouches for nothing.
func (w *writer) checkpoint(detail string, outcome acl.Outcome, first uint64) (signed bool) {
	r := &Record{
		N: w.end.Count + 1, Time: w.now().UTC().Truncate(time.Microsecond), Kind: KindCheckpoint, Outcome: outcome,
		Key: w.identity.Fingerprint(), Detail: clean(detail), First: first, Prev: w.hash,
	}
	var err error
	if r.Sig, err = sign(w.identity, r.body(nil)); err != nil {
		w.log.Error("audit log cannot be signed", "err", err)
		r.Sig = ""
	}
	w.chain(r)
	w.seal = r.N
	return r.Sig != ""
}

// write hands all that is pending to the system.
func (w *writer) write() error {
	if w.displaced() {
		w.replace()
	}
	if w.file == nil {
		there := w.synced > 0
		f, err := w.open(filepath.Join(w.dir, current), there)
		if err != nil {
			return err
		}
		w.file, w.named, w.looked = f, there, time.Now()
	}
	rest := w.pending[w.tried-w.synced:]
	if len(rest) == 0 {
		return nil
	}
	if _, err := w.file.WriteAt(rest, w.tried); err != nil {
		return err
	}
	w.tried += int64(len(rest))
	return nil
}

// sync makes all that is pending durable. After a sync that failed the system
// may have dropped what was written, so all of it is written again.
func (w *writer) sync() error {
	if err := w.write(); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		w.tried = w.synced
		return err
	}
	if !w.named {
		if err := syncDir(w.dir); err != nil {
			return err
		}
		w.named = true
	}
	w.synced, w.pending, w.due = w.tried, w.pending[:0], time.Time{}
	w.anchors.offer(w.end)
	w.removeDoomed()
	return nil
}

// flush writes what is pending, and syncs it when it is time.
func (w *writer) flush(now bool) {
	var err error
	switch {
	case len(w.pending) == 0:
		return
	case w.failing && !now && time.Now().Before(w.due):
		return
	case now || w.failing || !time.Now().Before(w.due) || len(w.pending) > hurry:
		err = w.sync()
	default:
		err = w.write()
	}
	switch {
	case err != nil:
		w.due = time.Now().Add(retryDelay)
		if !w.failing {
			w.log.Error("audit log cannot be written", "err", err)
		}
		w.failing = true
	case w.failing:
		w.failing = false
		w.log.Info("audit log is written again")
	}
}

// full reports whether there is no memory left for what cannot be written.
func (w *writer) full() bool { return len(w.pending) > maxPending }

// close ends the log with a checkpoint and the anchor.
func (w *writer) close() error {
	w.checkpoint(detailClosed, acl.OutcomeOK, 0)
	err := w.sync()
	if w.file != nil {
		err = errors.Join(err, w.file.Close())
	}
	if err = errors.Join(err, w.anchors.close()); err != nil {
		return fmt.Errorf("close audit log: %w", err)
	}
	return nil
}

// openFile opens the current file, or makes it if it must not be there.
func openFile(path string, there bool) (file, error) {
	flags := os.O_RDWR
	if !there {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return f, nil
}
