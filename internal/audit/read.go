package audit

import (
	"iter"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// A Filter chooses records. Its zero fields choose all.
type Filter struct {
	Kinds   []acl.EventKind // any of them
	Outcome acl.Outcome
	User    string // who did it, or whom it was done to
	Key     latchkey.Fingerprint
	Since   time.Time // not before
	After   uint64    // with a higher number
	Last    int       // of those that are left, the newest so many; at most 10,000
}

// maxLast bounds what Read keeps in memory for Filter.Last.
const maxLast = 10_000

func (f *Filter) matches(r *Record) bool {
	return (len(f.Kinds) == 0 || slices.Contains(f.Kinds, r.Kind)) &&
		(f.Outcome == "" || f.Outcome == r.Outcome) &&
		(f.User == "" || clean(f.User) == r.User || clean(f.User) == r.Object) &&
		(f.Key.IsZero() || f.Key == r.Key) &&
		!r.Time.Before(f.Since) && r.N > f.After
}

// Read returns the chosen records of the log in dir, oldest first. It does not
// verify. A line that is no record yields a *Fault and is passed over; another
// error is the last thing that is yielded. A last line that is not complete is
// being written and is left out. A log that does not exist has no records. Files
// with nothing behind Filter.After are not read.
func Read(dir string, f Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		files, err := openFiles(dir)
		if err != nil {
			yield(Record{}, err)
			return
		}
		defer files.close()
		files = files.behind(f.After)
		if f.Last <= 0 {
			files.read(&f, yield)
			return
		}
		for _, r := range files.newest(&f) {
			if !yield(r.Record, r.err) {
				return
			}
		}
	}
}

// behind returns the files without those at the begin that, by where the next one
// begins, have no record with a higher number than n.
func (fs logFiles) behind(n uint64) logFiles {
	for len(fs) > 1 && fs[1].begin() <= n+1 && n > 0 {
		fs = fs[1:]
	}
	return fs
}

// A found is what Read yields.
type found struct {
	Record
	err error
}

// read yields what f chooses; it reports whether yield wants more.
func (fs logFiles) read(f *Filter, yield func(Record, error) bool) bool {
	for _, file := range fs {
		lines := newLines(file.f)
		for lines.next() {
			r, err := parse(lines.text)
			switch {
			case err != nil && !yield(Record{}, &Fault{What: Changed, File: file.name, Line: lines.n}):
				return false
			case err == nil && f.matches(r) && !yield(*r, nil):
				return false
			}
		}
		if lines.err != nil && !yield(Record{}, lines.err) {
			return false
		}
	}
	return true
}

// newest reads files from the newest on until it has enough.
func (fs logFiles) newest(f *Filter) []found {
	want := min(f.Last, maxLast)
	var out []found
	for i := len(fs) - 1; i >= 0 && len(out) < want; i-- {
		var here []found
		fs[i:i+1].read(f, func(r Record, err error) bool {
			if here = append(here, found{r, err}); len(here) >= 2*want {
				here = slices.Clone(here[want:])
			}
			return true
		})
		out = append(here, out...)
	}
	return out[max(0, len(out)-want):]
}
