package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// A badFile fails, or waits, when it is told to.
type badFile struct {
	*os.File
	d *disk
}

// A disk is where badFiles are.
type disk struct {
	mu      sync.Mutex
	room    int           // bytes that may be written until the disk is full; -1: any number
	syncs   int           // how many were done
	safe    int64         // bytes of the file that a sync has saved
	noSync  error         // what Sync returns
	hanging chan struct{} // writes wait for it; nil: they do not
}

func (f badFile) WriteAt(b []byte, at int64) (int, error) {
	f.d.mu.Lock()
	hanging := f.d.hanging
	f.d.mu.Unlock()
	if hanging != nil {
		<-hanging
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.room < 0 {
		return f.File.WriteAt(b, at)
	}
	n := min(f.d.room, len(b))
	f.d.room -= n
	if _, err := f.File.WriteAt(b[:n], at); err != nil || n == len(b) {
		return n, err
	}
	return n, syscall.ENOSPC
}

// Sync loses what was written since the last one when it fails.
func (f badFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.syncs++
	if f.d.noSync != nil {
		size, _ := f.Seek(0, io.SeekEnd)
		_, _ = f.File.WriteAt(make([]byte, size-f.d.safe), f.d.safe)
		return f.d.noSync
	}
	var err error
	f.d.safe, err = f.Seek(0, io.SeekEnd)
	return err
}

// count returns how many syncs were done.
func (d *disk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}

func (d *disk) set(change func(d *disk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

// openOn opens the log on a disk; tell gets what is logged.
func (l *testLog) openOn(t testing.TB, d *disk, tell *bytes.Buffer) *Log {
	t.Helper()
	c := l.config
	c.Log = slog.New(slog.NewTextHandler(tell, nil))
	w := &writer{
		dir: c.Dir, identity: c.Identity, log: c.Log, now: time.Now, maxFile: 8 << 20, keep: 4,
		open: func(path string, there bool) (file, error) {
			f, err := openFile(path, there)
			if err != nil {
				return nil, err
			}
			return badFile{f.(*os.File), d}, nil
		},
	}
	c.Now = time.Now
	log, err := open(c, w)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func refusal(i int) acl.Event {
	return acl.Event{Kind: acl.EventAccess, Outcome: acl.OutcomeRefused, Object: fmt.Sprintf("/%d", i), Detail: strings.Repeat("x", 100)}
}

func change(i int) acl.Event {
	return acl.Event{Kind: acl.EventUser, Outcome: acl.OutcomeOK, Object: fmt.Sprintf("user-%d", i), Detail: strings.Repeat("x", 100)}
}

func (l *testLog) read(t testing.TB, f Filter) (out []Record) {
	t.Helper()
	for r, err := range Read(l.config.Dir, f) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func TestWhenSynced(t *testing.T) {
	l := newTestLog(t)
	synctest.Test(t, func(t *testing.T) {
		d := &disk{room: -1}
		log := l.openOn(t, d, new(bytes.Buffer))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		before := d.count()
		log.Record(change(1))
		if d.count() != before+1 || len(l.read(t, Filter{User: "user-1"})) != 1 {
			t.Error("a change is not on disk when Record returns")
		}
		log.Record(refusal(1))
		synctest.Wait()
		if d.count() != before+1 || len(l.read(t, Filter{Outcome: acl.OutcomeRefused})) != 1 {
			t.Error("a refusal is not written at once, or waited for")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if d.count() != before+2 || l.end().Count != 3 {
			t.Errorf("a second later there were %d syncs, and the anchor is %d", d.count()-before, l.end().Count)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if d.count() != before+2 {
			t.Error("syncs without a reason")
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	l.clean(t)
}

// A disk that is full for a while costs nothing but a line in the log, as long as
// there is memory. Then records are lost, and counted.
func TestDiskFull(t *testing.T) {
	for _, n := range []int{100, 5000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			l := newTestLog(t)
			synctest.Test(t, func(t *testing.T) {
				d, told := &disk{room: 5000}, new(bytes.Buffer)
				log := l.openOn(t, d, told)
				for i := range n {
					log.Record(change(i))
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if r, err := l.verify(); err != nil || r.Last == 0 {
					t.Errorf("full: %v, %+v", err, r)
				}
				d.set(func(d *disk) { d.room = -1 })
				time.Sleep(time.Minute)
				synctest.Wait()
				log.Record(change(n))
				if err := log.Close(); err != nil {
					t.Error(err)
				}
				if strings.Count(told.String(), "cannot be written") != 1 || !strings.Contains(told.String(), "written again") {
					t.Error(told)
				}
			})
			there := l.read(t, Filter{Kinds: []acl.EventKind{acl.EventUser}})
			r := l.clean(t)
			if got := uint64(len(there)) + r.Lost; got != uint64(n)+1 || (r.Lost > 0) != (n > 1000) {
				t.Errorf("%d records there, %d lost, of %d", len(there), r.Lost, n+1)
			}
			if last := there[len(there)-1].Object; last != fmt.Sprintf("user-%d", n) {
				t.Errorf("the last one is %s", last)
			}
		})
	}
}

// What was written before a sync that failed is written again.
func TestSyncFails(t *testing.T) {
	l := newTestLog(t)
	synctest.Test(t, func(t *testing.T) {
		d, told := &disk{room: -1}, new(bytes.Buffer)
		log := l.openOn(t, d, told)
		log.Record(change(0))
		time.Sleep(time.Minute)
		synctest.Wait()
		before := l.end()
		d.set(func(d *disk) { d.noSync = errors.New("lost") })
		for i := range 20 {
			log.Record(change(1 + i))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if l.end() != before || before.Count != 2 {
			t.Error("the anchor is for what is not on disk")
		}
		d.set(func(d *disk) { d.noSync = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	l.clean(t)
	if n := len(l.read(t, Filter{Kinds: []acl.EventKind{acl.EventUser}})); n != 21 {
		t.Errorf("%d records", n)
	}
}

// A disk that does not answer holds nobody up who asks, and a change not longer
// than said.
func TestDiskHangs(t *testing.T) {
	l := newTestLog(t)
	const n = 3 * maxQueue
	synctest.Test(t, func(t *testing.T) {
		d, told := &disk{room: -1}, new(bytes.Buffer)
		log := l.openOn(t, d, told)
		log.Record(change(0))
		d.set(func(d *disk) { d.hanging = make(chan struct{}) })
		begin := time.Now()
		log.Record(change(1))
		if took := time.Since(begin); took != patience {
			t.Errorf("a change took %v", took)
		}
		begin = time.Now()
		for i := range n {
			e := refusal(i)
			e.Key = fingerprint(t, i/maxPeerLines)
			log.Record(e)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("refusals took %v", took)
		}
		begin = time.Now()
		if err := log.Close(); !errors.Is(err, errSlow) || time.Since(begin) != closeTimeout {
			t.Errorf("close: %v after %v", err, time.Since(begin))
		}
		d.set(func(d *disk) { close(d.hanging); d.hanging = nil })
		if err := errors.Join(log.Close(), log.Close()); err != nil {
			t.Error(err)
		}
		log.Record(change(2))
		if !strings.Contains(told.String(), "closed") {
			t.Error(told)
		}
	})
	r := l.clean(t)
	total := r.Lost
	for _, rec := range l.read(t, Filter{Outcome: acl.OutcomeRefused}) {
		total += max(1, rec.Repeats)
	}
	if total != n {
		t.Errorf("%d refusals are accounted for, of %d", total, n)
	}
}

func fingerprint(t testing.TB, i int) latchkey.Fingerprint {
	t.Helper()
	f, err := latchkey.FingerprintFromBytes(fmt.Appendf(nil, "%032d", i+1))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFloods(t *testing.T) {
	for name, c := range map[string]struct {
		n, most int
		event   func(i int) acl.Event
	}{
		"equal":       {10_000, 3, func(int) acl.Event { return refusal(0) }},
		"other paths": {10_000, maxPeerLines + 1, refusal},
		"allowed ones": {10_000, maxPeerLines + 1, func(i int) acl.Event {
			return acl.Event{Kind: acl.EventAccess, Outcome: acl.OutcomeOK, Key: fingerprint(t, 0), Action: acl.TunnelOpen}
		}},
		"other keys": {10_000, maxLines + maxFolds + 1, func(i int) acl.Event {
			e := refusal(i)
			e.Key = fingerprint(t, i)
			return e
		}},
		"long": {1000, 2*maxPeerLines + 1, func(i int) acl.Event {
			return acl.Event{Kind: acl.EventSession, Outcome: acl.OutcomeFailed, Object: strings.Repeat(fmt.Sprint(i), 10_000)}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			synctest.Test(t, func(t *testing.T) {
				log := l.openOn(t, &disk{room: -1}, new(bytes.Buffer))
				for i := range c.n {
					log.Record(c.event(i))
					if i%100 == 0 {
						synctest.Wait() // the queue is not what is tested
					}
				}
				time.Sleep(windowLength)
				synctest.Wait()
				if n := len(log.window.equal) + len(log.window.folds); n != 0 {
					t.Errorf("%d counts are left", n)
				}
				if err := log.Close(); err != nil {
					t.Error(err)
				}
			})
			kind := c.event(0).Kind
			lines, events := 0, 0
			for _, r := range l.read(t, Filter{Kinds: []acl.EventKind{kind}}) {
				lines++
				events += int(max(1, r.Repeats))
			}
			if lines > c.most || events != c.n {
				t.Errorf("%d lines, at most %d; %d events, want %d", lines, c.most, events, c.n)
			}
			l.clean(t)
		})
	}
}

// A store that is slow to write is left alone most of the time, and a fast one
// hears of the end of the log every second.
func TestAnchorPause(t *testing.T) {
	for slow, most := range map[time.Duration]int{0: 60, 300 * time.Millisecond: 60/6 + 1} {
		t.Run(slow.String(), func(t *testing.T) {
			l := newTestLog(t)
			set, calls, took := l.config.SetAnchor, 0, time.Duration(0)
			l.config.SetAnchor = func(a Anchor) error {
				calls++
				took += slow
				time.Sleep(slow)
				return set(a)
			}
			synctest.Test(t, func(t *testing.T) {
				log := l.openOn(t, &disk{room: -1}, new(bytes.Buffer))
				for i := range 600 {
					log.Record(change(i))
					time.Sleep(100 * time.Millisecond)
				}
				synctest.Wait()
				if calls > most+1 || calls < most*9/10 || took > 63*time.Second/anchorShare {
					t.Errorf("%d times in a minute, %v in all, want %d times", calls, took, most)
				}
				begin := time.Now()
				if err := log.Close(); err != nil || time.Since(begin) > 2*slow {
					t.Errorf("%v after %v", err, time.Since(begin))
				}
			})
			if r := l.clean(t); r.Anchored != r.Last {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestConcurrent(t *testing.T) {
	l := newTestLog(t)
	l.config.MaxFile, l.config.Keep = 64<<10, 100
	log, err := Open(l.config)
	if err != nil {
		t.Fatal(err)
	}
	const people, each = 8, 100
	var wg sync.WaitGroup
	for p := range people {
		wg.Go(func() {
			for i := range each {
				log.Record(change(p*each + i))
				log.Record(refusal(i % 10))
			}
		})
	}
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			if r, err := Verify(l.config.Dir, l.config.Identity.Public(), Anchor{}); err != nil {
				t.Errorf("while it is written: %v %+v", err, r)
			}
			for range Read(l.config.Dir, Filter{Last: 10}) {
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	wg.Wait()
	close(stop)
	reader.Wait()
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if n := len(l.read(t, Filter{Kinds: []acl.EventKind{acl.EventUser}})); n != people*each {
		t.Errorf("%d of %d changes", n, people*each)
	}
	if r := l.clean(t); r.Files < 3 {
		t.Errorf("%+v", r)
	}
}

func TestRotationIsBounded(t *testing.T) {
	l := newTestLog(t)
	l.config.MaxFile, l.config.Keep = leastFile, 3
	for range 4 {
		l.run(t, 100)
		l.clean(t)
	}
	files, err := filepath.Glob(filepath.Join(l.config.Dir, "*"))
	if err != nil || len(files) != 3 {
		t.Errorf("%v %v", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > leastFile || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, info.Size(), err)
		}
	}
}

func TestRead(t *testing.T) {
	l := newTestLog(t)
	l.config.MaxFile, l.config.Keep = leastFile, 50
	l.run(t, 150)
	all := l.read(t, Filter{})
	middle := all[len(all)/2]
	for name, c := range map[string]struct {
		f    Filter
		want func(r *Record) bool
		last int
	}{
		"kind":    {Filter{Kinds: []acl.EventKind{acl.EventUser}}, func(r *Record) bool { return r.Kind == acl.EventUser }, 0},
		"outcome": {Filter{Outcome: acl.OutcomeRefused}, func(r *Record) bool { return r.Outcome == acl.OutcomeRefused }, 0},
		"by":      {Filter{User: "anna"}, func(r *Record) bool { return r.User == "anna" }, 0},
		"to":      {Filter{User: "user-7"}, func(r *Record) bool { return r.Object == "user-7" }, 0},
		"after":   {Filter{After: 30}, func(r *Record) bool { return r.N > 30 }, 0},
		"since":   {Filter{Since: middle.Time}, func(r *Record) bool { return !r.Time.Before(middle.Time) }, 0},
		"key":     {Filter{Key: l.config.Identity.Fingerprint()}, func(r *Record) bool { return r.Kind == KindCheckpoint }, 0},
		"last":    {Filter{Last: 70}, func(*Record) bool { return true }, 70},
		"both":    {Filter{Last: 30, Kinds: []acl.EventKind{acl.EventUser}}, func(r *Record) bool { return r.Kind == acl.EventUser }, 30},
		"more":    {Filter{Last: 9999}, func(*Record) bool { return true }, 0},
	} {
		var want []Record
		for _, r := range all {
			if c.want(&r) {
				want = append(want, r)
			}
		}
		if c.last > 0 {
			want = want[len(want)-c.last:]
		}
		if got := l.read(t, c.f); !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("%s: %d records, want %d", name, len(got), len(want))
		}
	}
	for range Read(l.config.Dir, Filter{}) {
		break
	}
	for r, err := range Read(filepath.Join(l.config.Dir, "missing"), Filter{}) {
		t.Error(r, err)
	}
}

// Who asks for what comes after a record does not make the device read all that
// was before.
func TestReadSkips(t *testing.T) {
	l := newTestLog(t)
	l.config.MaxFile, l.config.Keep = leastFile, 50
	l.run(t, 150)
	all := l.read(t, Filter{})
	last := all[len(all)-1].N
	for after := range last + 2 {
		want := slices.DeleteFunc(slices.Clone(all), func(r Record) bool { return r.N <= after })
		if got := l.read(t, Filter{After: after}); !slices.Equal(got, want) {
			t.Fatalf("after %d: %d records, want %d", after, len(got), len(want))
		}
	}
	files, err := openFiles(l.config.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer files.close()
	if len(files) < 4 {
		t.Fatalf("%d files", len(files))
	}
	for i, f := range files[:len(files)-1] {
		next := files[i+1].begin()
		l.spoil(t, f.name) // whose fault tells whether the file is read
		if got := l.read(t, Filter{After: next - 1}); len(got) != int(last-next+1) || got[0].N != next {
			t.Errorf("after %d: %d records", next-1, len(got))
		}
		if got := l.read(t, Filter{After: next - 1, Last: 3}); next < last-3 && len(got) != 3 {
			t.Errorf("after %d: the last %d records", next-1, len(got))
		}
		faults := 0
		for _, err := range Read(l.config.Dir, Filter{After: next - 2}) {
			if err != nil {
				faults++
			}
		}
		if faults != 1 {
			t.Errorf("after %d: %d faults", next-2, faults)
		}
		l.spoil(t, f.name)
	}
	for range Read(l.config.Dir, Filter{After: math.MaxUint64}) {
		break
	}
}

// spoil changes the last line of a file, and back.
func (l *testLog) spoil(t *testing.T, name string) {
	t.Helper()
	path := filepath.Join(l.config.Dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)-2] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkRecord(b *testing.B) {
	for name, event := range map[string]func(i int) acl.Event{
		"equal refusal": func(int) acl.Event { return refusal(0) }, "refusal": refusal, "change": change,
	} {
		b.Run(name, func(b *testing.B) {
			l := newTestLog(b)
			log, err := Open(l.config)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				log.Record(event(i))
			}
			b.StopTimer()
			if err := log.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// A file that cannot be rotated grows until it can.
func TestRotationFails(t *testing.T) {
	l := newTestLog(t)
	l.config.MaxFile = leastFile
	inTheWay := filepath.Join(l.config.Dir, rotatedName(1))
	if err := os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	l.run(t, 50)
	if r := l.clean(t); r.Files != 1 || r.Last < 50 {
		t.Errorf("%+v", r)
	}
	if err := os.RemoveAll(inTheWay); err != nil {
		t.Fatal(err)
	}
	l.run(t, 50)
	if r := l.clean(t); r.Files < 2 || r.First != 1 || r.Last < 100 {
		t.Errorf("%+v", r)
	}
}
