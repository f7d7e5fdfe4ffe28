package audit

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/latchkey-dev/latchkey/acl"
)

const (
	defaultFile = 8 << 20
	leastFile   = 8 << 10
	defaultKeep = 8
	leastKeep   = 2
)

// Open opens the log in c.Dir, or begins one, and repairs what a crash left. It
// does not fail because of damage, which is for Verify to name, nor because the
// disk is full. It starts two goroutines, which end with Close.
func Open(c Config) (*Log, error) {
	if c.Identity == nil {
		return nil, errors.New("audit: no identity to sign with")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	w := &writer{
		dir: c.Dir, identity: c.Identity, log: c.Log, now: c.Now, open: openFile,
		maxFile: max(cmp.Or(c.MaxFile, defaultFile), leastFile), keep: max(cmp.Or(c.Keep, defaultKeep), leastKeep),
	}
	return open(c, w)
}

func open(c Config, w *writer) (*Log, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	var anchor acl.Anchor
	if c.Anchor != nil {
		anchor = c.Anchor()
	}
	w.anchors = newAnchors(c.SetAnchor, c.Log)
	if err := w.resume(anchor); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	l := &Log{
		log: c.Log, now: c.Now, written: make(chan struct{}),
		kick: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	go w.anchors.run()
	go l.run(w)
	return l, nil
}

// resume finds the end of the log and appends what a new start begins with.
func (w *writer) resume(anchor acl.Anchor) error {
	files, err := openFiles(w.dir)
	if err != nil {
		return err
	}
	defer files.close()
	for i := len(files) - 1; i >= 0; i-- {
		t, err := newWalker(w.identity.Public(), anchor)
		if err != nil {
			return err
		}
		if err := t.files(files[i : i+1]); err != nil {
			return err
		}
		if t.good == 0 && !t.after.sealed && i > 0 {
			continue // it was just begun: the one before tells
		}
		w.first = cmp.Or(t.first, t.claimed, oldest(t, files))
		w.begin = t.oldest
		atEnd := i == len(files)-1 && files[i].name == current
		if t.n < anchor.Count || t.after.sealed || t.torn > 0 && !atEnd ||
			t.fault != nil && (t.fault.What == Forged || !atEnd) {
			return w.leave(t, files)
		}
		return w.goOn(t, files[i:])
	}
	w.first, w.hash, w.end = 1, headOf(anchor), anchor
	if anchor.Count > 0 {
		w.damaged(fmt.Sprintf("all files up to record %d are missing", anchor.Count))
	} else {
		w.beginFile(detailOpened, acl.OutcomeOK)
	}
	return nil
}

// oldest is the number of the first record that there is, as far as it or the
// name of its file tells.
func oldest(t *walker, files logFiles) uint64 {
	named := files[0].number()
	if named == 0 || t.oldest == 0 {
		return max(named, t.oldest, 1)
	}
	return min(named, t.oldest)
}

// goOn continues behind the last record that t has found whole, in the first of
// the files. What is behind it no anchor and no checkpoint covers: it is what a
// crash left, and cut off.
func (w *writer) goOn(t *walker, files logFiles) error {
	cut := -t.good
	for _, f := range files {
		info, err := f.f.Stat()
		if err != nil {
			return err
		}
		cut += info.Size()
	}
	files.close() // they may be removed
	path := filepath.Join(w.dir, current)
	last := files[len(files)-1].name == current
	w.end, w.hash, w.seal = anchorOf(t.n, t.hash), t.hash, t.sealed
	switch {
	case last && len(files) == 1 && t.good > 0:
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Truncate(t.good), f.Chmod(0o600), f.Sync()); err != nil {
			return errors.Join(err, f.Close())
		}
		w.file, w.named, w.synced, w.tried = f, true, t.good, t.good
		w.checkpoint(detailOpened, acl.OutcomeOK, 0)
	case last:
		if err := os.Remove(path); err != nil {
			return err
		}
		fallthrough
	default:
		if t.good == 0 {
			w.end, w.hash = acl.Anchor{}, origin
		}
		w.beginFile(detailOpened, acl.OutcomeOK)
	}
	if cut > 0 {
		w.note(fmt.Sprintf("%d bytes behind record %d were not whole after a crash, and cut off", cut, t.n))
	}
	return nil
}

// leave leaves a damaged log as it is and begins a new file behind it, with
// numbers that no record can have had.
func (w *writer) leave(t *walker, files logFiles) error {
	files.close() // one may be renamed
	if last := &files[len(files)-1]; last.name == current {
		name := max(t.oldest, 1)
		if len(files) > 1 {
			name = max(name, files[len(files)-2].first+1)
		}
		last.first = name
		if err := os.Rename(filepath.Join(w.dir, current), filepath.Join(w.dir, rotatedName(name))); err != nil {
			return err
		}
	}
	n := t.after.lines + 1
	if t.good > 0 {
		n += t.n
	}
	w.end, w.hash = acl.Anchor{Count: max(n, t.anchor.Count)}, origin
	if w.end.Count == t.anchor.Count {
		w.end, w.hash = t.anchor, headOf(t.anchor)
	}
	if t.fault != nil && t.fault.What == Cut {
		w.first = files[0].first // the checkpoint that says it may be missing, too
	}
	text := "a file that was complete is not any more"
	if t.fault != nil {
		text = t.fault.Error()
	}
	w.damaged(text)
	return nil
}

func (w *writer) damaged(text string) {
	w.log.Error("audit log is damaged", "err", text)
	w.beginFile(text, acl.OutcomeFailed)
}

// note appends a record of something that the log has to say about itself.
func (w *writer) note(text string) {
	w.log.Warn("audit log was not complete", "err", text)
	w.append(newRecord(&acl.Event{Kind: acl.EventAuditLost, Outcome: acl.OutcomeFailed, Detail: text}, w.now()))
}
