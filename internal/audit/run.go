package audit

import (
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey/acl"
)

// run writes what is queued until Close. It is the one goroutine that uses w.
func (l *Log) run(w *writer) {
	defer close(l.ended)
	timer := time.NewTimer(0) // what Open appended
	defer timer.Stop()
	for {
		select {
		case <-l.kick:
		case <-timer.C:
		case <-l.stop:
			l.turn(w, true)
			l.err = w.close()
			return
		}
		timer.Stop()
		if next := l.turn(w, false); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// turn writes what there is and returns when there will be something to do
// even if nobody asks; never if zero.
func (l *Log) turn(w *writer, last bool) (next time.Time) {
	l.mu.Lock()
	l.count(last)
	queue, written := l.queue, l.written
	l.queue, l.written = nil, make(chan struct{})
	next = sooner(l.window.end, l.day.tell)
	l.mu.Unlock()

	now := last
	for _, i := range queue {
		l.appendLost(w)
		if w.full() {
			l.mu.Lock()
			l.lose(i.record)
			l.mu.Unlock()
			continue
		}
		w.append(i.record)
		now = now || i.change
	}
	w.flush(now)
	if l.appendLost(w) {
		w.flush(true)
	}
	close(written)
	return sooner(next, w.due)
}

// count queues the records of what was counted, when it is time or the last one.
// They are few, whatever was counted. l.mu is held.
func (l *Log) count(last bool) {
	over := func(end time.Time) bool { return !end.IsZero() && (last || !time.Now().Before(end)) }
	if over(l.window.end) {
		for _, r := range l.window.close(l.now()) {
			if l.day.pay(r) {
				l.queue = append(l.queue, item{record: r})
			}
		}
	}
	if over(l.day.tell) {
		for _, r := range l.day.told(l.now()) {
			l.queue = append(l.queue, item{record: r})
		}
	}
}

// sooner returns the earlier of two times, where zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// appendLost appends a record of those that were lost, when there is room for
// records again.
func (l *Log) appendLost(w *writer) bool {
	if w.full() {
		return false
	}
	l.mu.Lock()
	n := l.lost
	l.lost = lost{}
	l.mu.Unlock()
	if n.count == 0 {
		return false
	}
	r := newRecord(&acl.Event{
		Kind: acl.EventAuditLost, Outcome: acl.OutcomeFailed,
		Detail: fmt.Sprintf("records that could not be written, from %s on", n.since.Format(time.RFC3339)),
	}, l.now())
	r.Repeats = n.count
	w.append(r)
	w.log.Error("audit records were lost", "records", n.count)
	return true
}
