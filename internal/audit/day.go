package audit

import (
	"cmp"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// What doc.go computes with, in bytes of lines that are no changes.
const (
	dayLength    = 24 * time.Hour
	tellEvery    = time.Hour
	maxDay       = 1_200_000 // of all
	maxUser      = 500_000   // of them, about one user
	maxStrangers = 400_000   // of them, about peers that are no users
)

// A day counts what is written about events that are no changes, so that nobody
// can push the records of changes out of the log by asking. Its zero value is
// empty.
type day struct {
	end       time.Time
	all       int
	strangers int
	users     map[string]int

	tell time.Time            // when to write what is in over; zero: that is empty
	over map[acl.Event]uint64 // events that had no room, by kind and outcome
}

// stranger reports whether a record is one that peers who are no users can cause
// as often as they like. A password that was wrong is not: few may be tried.
func stranger(r *Record) bool {
	if r.User != "" || r.Console || r.Code == latchkey.CodeWrongPassword {
		return false
	}
	return r.Kind == acl.EventSession || r.Outcome == acl.OutcomeRefused && r.Kind != acl.EventAttach
}

// pay reports whether there is room for a record today. If not, what it stands
// for is counted.
func (d *day) pay(r *Record) bool {
	if now := time.Now(); !now.Before(d.end) {
		d.end, d.all, d.strangers, d.users = now.Add(dayLength), 0, 0, make(map[string]int)
	}
	size, foreign := r.size(), stranger(r)
	if d.all+size > maxDay || foreign && d.strangers+size > maxStrangers || d.users[r.User]+size > maxUser && r.User != "" {
		d.count(r, foreign)
		return false
	}
	d.all += size
	if foreign {
		d.strangers += size
	}
	if r.User != "" {
		d.users[r.User] += size
	}
	return true
}

func (d *day) count(r *Record, foreign bool) {
	if d.tell.IsZero() {
		d.tell, d.over = time.Now().Add(tellEvery), make(map[acl.Event]uint64)
	}
	what := acl.Event{Kind: r.Kind, Outcome: r.Outcome, Detail: "beyond what is written in a day, about users"}
	if foreign {
		what.Detail = "beyond what is written in a day, about strangers"
	}
	d.over[what] += max(1, r.Repeats)
}

// told returns records of what had no room, and forgets it.
func (d *day) told(at time.Time) []*Record {
	var out []*Record
	for e, n := range d.over {
		r := newRecord(&e, at)
		r.Repeats = n
		out = append(out, r)
	}
	d.tell, d.over = time.Time{}, nil
	slices.SortFunc(out, func(a, b *Record) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Detail, b.Detail))
	})
	return out
}
