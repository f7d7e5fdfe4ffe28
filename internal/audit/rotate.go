package audit

import (
	"os"
	"path/filepath"
	"time"

	"github.com/latchkey-dev/latchkey/acl"
)

// What checkpoints say about themselves.
const (
	detailOpened = "opened"
	detailClosed = "closed"
)

// rotate gives the current file its final name and begins a new one. If it
// cannot, the file grows, and it is tried again when it is an eighth larger. Old
// files are removed only after the checkpoint that says so is on disk.
func (w *writer) rotate() {
	w.looked = time.Time{} // what has its name now is about to get another one
	if w.file == nil || w.sync() != nil {
		return // what was written last is not safe yet
	}
	err := w.file.Close()
	w.file = nil
	if err == nil {
		err = os.Rename(filepath.Join(w.dir, current), filepath.Join(w.dir, rotatedName(w.begin)))
	}
	if err != nil {
		w.log.Error("audit log cannot be rotated", "err", err)
		w.extra += w.maxFile / 8
		return
	}
	w.synced, w.tried, w.extra = 0, 0, 0
	w.beginFile("", acl.OutcomeOK)
}

// beginFile appends the checkpoint that a file begins with.
func (w *writer) beginFile(detail string, outcome acl.Outcome) {
	old, err := rotated(w.dir)
	if err != nil {
		w.log.Error("audit log cannot be rotated", "err", err)
	}
	if more := len(old) - (w.keep - 1); more > 0 {
		for _, first := range old[:more] {
			w.doomed = append(w.doomed, rotatedName(first))
		}
		w.first = old[more]
	}
	w.begin = w.end.Count + 1
	if !w.checkpoint(detail, outcome, w.first) {
		w.doomed = nil
	}
}

func (w *writer) removeDoomed() {
	for _, name := range w.doomed {
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
			w.log.Error("old audit log cannot be removed", "err", err)
		}
	}
	w.doomed = nil
}
