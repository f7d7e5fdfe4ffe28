package audit

import (
	"cmp"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey/acl"
)

const (
	windowLength = time.Minute
	maxPeerLines = 60  // of one peer in a window
	maxLines     = 600 // of all peers in a window
	maxFolds     = 256 // peers that are counted one by one beyond that
)

// isChange reports whether an event is one that must be on disk before whoever
// caused it learns that it worked. All others are caused by asking alone, or
// follow from a change that has its own.
func isChange(e *acl.Event) bool {
	if e.Outcome != acl.OutcomeOK || e.Action == acl.TokenLogin {
		return false
	}
	switch e.Kind {
	case acl.EventAccess, acl.EventSession, acl.EventAttach, acl.EventRevoke, acl.EventClock:
		return false
	}
	return true
}

// A window counts what peers cause within a minute, so that they cannot have
// more written than the owner wants to read. Its zero value is empty.
type window struct {
	end   time.Time
	lines int                  // that were admitted
	peers map[acl.Event]int    // lines by peer
	equal map[acl.Event]uint64 // refusals that were admitted, and how often more they came
	folds map[acl.Event]uint64 // not admitted, by kind, outcome and peer
}

func (w *window) empty() bool { return w.end.IsZero() }

// peer is what the lines of an event count for.
func peer(e *acl.Event) acl.Event {
	if !e.Key.IsZero() {
		return acl.Event{Key: e.Key, User: e.User}
	}
	return acl.Event{Console: e.Console, Source: e.Source}
}

// admit reports whether an event gets a line of its own now. Otherwise it is
// counted.
func (w *window) admit(e *acl.Event) bool {
	if w.empty() {
		*w = window{
			end: time.Now().Add(windowLength), peers: make(map[acl.Event]int),
			equal: make(map[acl.Event]uint64), folds: make(map[acl.Event]uint64),
		}
	}
	if n, ok := w.equal[*e]; ok {
		w.equal[*e] = n + 1
		return false
	}
	who := peer(e)
	if w.lines >= maxLines || w.peers[who] >= maxPeerLines {
		w.fold(e, who)
		return false
	}
	w.lines++
	w.peers[who]++
	if e.Outcome != acl.OutcomeOK {
		w.equal[*e] = 0
	}
	return true
}

func (w *window) fold(e *acl.Event, who acl.Event) {
	who.Kind, who.Outcome = e.Kind, e.Outcome
	if _, ok := w.folds[who]; !ok && len(w.folds) >= maxFolds {
		who = acl.Event{Kind: e.Kind, Outcome: e.Outcome}
	}
	w.folds[who]++
}

// close empties the window and returns records of what it counted.
func (w *window) close(at time.Time) []*Record {
	var out []*Record
	for e, n := range w.equal {
		if n > 0 {
			r := newRecord(&e, at)
			r.Repeats = n
			out = append(out, r)
		}
	}
	for e, n := range w.folds {
		e.Detail = "too many to be written one by one"
		r := newRecord(&e, at)
		r.Repeats = n
		out = append(out, r)
	}
	*w = window{}
	slices.SortFunc(out, func(a, b *Record) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key.String(), b.Key.String()),
			cmp.Compare(a.Source, b.Source), cmp.Compare(a.Object, b.Object))
	})
	return out
}
