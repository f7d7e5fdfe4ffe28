package audit

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/latchkey-dev/latchkey/acl"
)

// lookEvery is how long the file is taken to be where it was.
const lookEvery = time.Second

// displaced reports whether the file that is open is not the one of that name any
// more: whoever reads the log would not see what is written to it.
func (w *writer) displaced() bool {
	if w.file == nil || time.Since(w.looked) < lookEvery {
		return false
	}
	w.looked = time.Now()
	there, err := os.Stat(filepath.Join(w.dir, current))
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	open, errOpen := w.file.Stat()
	return err == nil && errOpen == nil && !os.SameFile(open, there)
}

// replace goes on in a new file. What lies under its name is kept as a file that
// is full, for Verify to judge. What was on disk in the old file only is lost; what
// was not is written to the new one.
func (w *writer) replace() {
	const text = "the log was removed or replaced while it was open"
	w.log.Error("audit log is damaged", "err", text)
	if err := w.setAside(); err != nil {
		w.log.Error("audit log cannot be rotated", "err", err)
		return
	}
	_ = w.file.Close() // nothing in it counts any more
	w.file, w.named = nil, false
	w.synced, w.tried, w.extra = 0, 0, 0
	begin := w.end.Count + 1 - uint64(bytes.Count(w.pending, []byte("\n")))
	w.beginFile("", acl.OutcomeOK)
	w.begin = begin
	w.chain(newRecord(&acl.Event{Kind: acl.EventAuditLost, Outcome: acl.OutcomeFailed, Detail: text}, w.now()))
}

// setAside gives what has the name of the current file the first name that is
// free, of those that keep its place.
func (w *writer) setAside() error {
	for n := w.begin; ; n++ {
		to := filepath.Join(w.dir, rotatedName(n))
		if _, err := os.Lstat(to); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		err := os.Rename(filepath.Join(w.dir, current), to)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed
		}
		return err
	}
}
