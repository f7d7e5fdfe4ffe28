package audit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

const (
	maxQueue     = 1024             // events that wait to be written; changes get as many again
	patience     = 2 * time.Second  // that a change waits for the disk
	closeTimeout = 10 * time.Second // that Close waits for the disk
)

// errSlow reports that the disk took longer than callers wait.
var errSlow = errors.New("audit: the disk does not answer")

// Config says where a log is and who signs it.
type Config struct {
	Dir      string             // of the device, made if missing; nobody else may write there
	Identity *latchkey.Identity // signs checkpoints
	// Anchor and SetAnchor read and keep the end of the log elsewhere. SetAnchor
	// returns after it is durable. Without them a cut tail is not noticed.
	Anchor    func() acl.Anchor
	SetAnchor func(acl.Anchor) error

	MaxFile int64 // bytes of a file; default 8 MiB, at least 8 KiB
	Keep    int   // files in all; default 8, at least 2
	Log     *slog.Logger
	Now     func() time.Time // for the time in records; default time.Now
}

// A Log is open for writing. One process at a time may have it open; whoever
// has access.db open is that process.
type Log struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	closed  bool
	queue   []item
	written chan struct{} // closed when what is in queue was written, or could not be
	window  window
	day     day
	lost    lost

	kick  chan struct{} // there is something to do
	stop  chan struct{} // closed by Close
	ended chan struct{} // closed when the writer has ended
	err   error         // of the end; valid after ended
}

// An item is a record that waits.
type item struct {
	record *Record
	change bool
}

// lost counts events that have no record.
type lost struct {
	count uint64
	since time.Time
}

// Record writes an event down. For a change it waits until the record is on
// disk, for others it does not; in no case longer than two seconds. What goes
// wrong is told to the Config's Log.
func (l *Log) Record(e acl.Event) {
	e = tidy(e)
	at := l.now()
	change := isChange(&e)
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		l.log.Error("event after the audit log was closed", "kind", e.Kind, "op", e.Action)
		return
	}
	fresh := l.window.empty()
	if change || l.window.admit(&e) {
		if r := newRecord(&e, at); change || l.day.pay(r) {
			l.put(item{r, change})
		}
	}
	written := l.written
	wake := fresh || len(l.queue) > 0
	l.mu.Unlock()
	if wake {
		l.wake()
	}
	if !change {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-written:
	case <-timer.C:
		l.log.Error("audit record is not on disk yet", "kind", e.Kind, "err", errSlow)
	}
}

// put queues an item, or counts it as lost. l.mu is held.
func (l *Log) put(i item) {
	room := maxQueue
	if i.change {
		room *= 2
	}
	if len(l.queue) >= room {
		l.lose(i.record)
		return
	}
	l.queue = append(l.queue, i)
}

// lose counts what a record stands for as lost. l.mu is held.
func (l *Log) lose(r *Record) {
	if l.lost.count == 0 {
		l.lost.since = r.Time
	}
	l.lost.count += max(1, r.Repeats)
}

func (l *Log) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// Close writes what is queued and counted, a checkpoint and the anchor. It waits
// for the disk ten seconds at most. Events that come later are only logged.
func (l *Log) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.stop)
	}
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	select {
	case <-l.ended:
		return l.err
	case <-ctx.Done():
		return errSlow
	}
}
