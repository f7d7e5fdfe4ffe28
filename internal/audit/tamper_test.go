package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// A testLog is a log of a device that is not running.
type testLog struct {
	config Config
	mu     sync.Mutex // guards anchor while the log is open
	anchor Anchor
}

// end returns the anchor of a log that is open.
func (l *testLog) end() Anchor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.anchor
}

func newTestLog(t testing.TB) *testLog {
	t.Helper()
	id, err := latchkey.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	l := new(testLog)
	l.config = Config{
		Dir: t.TempDir(), Identity: id,
		Anchor: func() Anchor { return l.anchor },
		SetAnchor: func(a Anchor) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.anchor = a
			return nil
		},
	}
	return l
}

// run opens the log, records n events and closes it.
func (l *testLog) run(t testing.TB, n int) {
	t.Helper()
	log, err := Open(l.config)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		log.Record(event(i))
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

func event(i int) acl.Event {
	e := acl.Event{Kind: acl.EventUser, Outcome: acl.OutcomeOK, Object: fmt.Sprintf("user-%d", i), User: "anna", Console: i%5 == 0}
	if i%3 == 0 {
		e.Kind, e.Outcome, e.Code, e.Path = acl.EventAccess, acl.OutcomeRefused, latchkey.CodeForbidden, acl.PathLocal
		e.Action, e.Object, e.Detail = acl.CoAPPut, fmt.Sprintf("/light/%d", i), `a "word" and a \`
	}
	return e
}

func (l *testLog) verify() (Report, error) {
	return Verify(l.config.Dir, l.config.Identity.Public(), l.end())
}

// clean fails the test unless Verify finds nothing.
func (l *testLog) clean(t *testing.T) Report {
	t.Helper()
	r, err := l.verify()
	if err != nil {
		t.Errorf("%v; %+v", err, r)
	}
	return r
}

// fault fails the test unless Verify names that place.
func (l *testLog) fault(t *testing.T, what string, want Fault) {
	t.Helper()
	_, err := l.verify()
	got := new(Fault)
	if !errors.As(err, &got) {
		t.Errorf("%s: %v", what, err)
	} else if got.File != want.File || got.Line != want.Line || got.N != want.N || want.What != "" && got.What != want.What {
		t.Errorf("%s: got %+v (%v), want %+v", what, *got, err, want)
	}
}

// A testLine is a line of a log with its newline.
type testLine struct {
	file string
	line int
	text []byte
}

func (l *testLog) lines(t testing.TB) (out []testLine) {
	t.Helper()
	files, err := openFiles(l.config.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer files.close()
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(l.config.Dir, f.name))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range bytes.SplitAfterSeq(text, []byte("\n")) {
			if n++; len(line) > 0 {
				out = append(out, testLine{f.name, n, line})
			}
		}
	}
	return out
}

// put replaces all files.
func (l *testLog) put(t testing.TB, lines []testLine) {
	t.Helper()
	old, _ := filepath.Glob(filepath.Join(l.config.Dir, "audit*.jsonl"))
	for _, f := range old {
		os.Remove(f)
	}
	text := map[string][]byte{}
	for _, line := range lines {
		text[line.file] = append(text[line.file], line.text...)
	}
	for name, text := range text {
		if err := os.WriteFile(filepath.Join(l.config.Dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func number(t testing.TB, line testLine) uint64 {
	t.Helper()
	r, err := parse(bytes.TrimSuffix(line.text, []byte("\n")))
	if err != nil {
		t.Fatal(err)
	}
	return r.N
}

// logs are one with one file, one with some, and one that has lost its oldest.
func logs(t *testing.T, test func(t *testing.T, l *testLog)) {
	for name, c := range map[string]Config{"one": {}, "some": {MaxFile: leastFile, Keep: 9}, "last": {MaxFile: leastFile, Keep: 2}} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			l.config.MaxFile, l.config.Keep = c.MaxFile, c.Keep
			l.run(t, 25)
			l.run(t, 31)
			r := l.clean(t)
			if want := map[string]bool{"one": r.Files == 1 && r.First == 1, "some": r.Files > 2 && r.First == 1, "last": r.Files == 2 && r.First > 1}; !want[name] {
				t.Fatalf("%+v", r)
			}
			test(t, l)
		})
	}
}

func TestEveryByte(t *testing.T) {
	logs(t, func(t *testing.T, l *testLog) {
		lines := l.lines(t)
		random := rand.New(rand.NewPCG(rand.Uint64(), 0))
		step := byteStep
		if testing.Short() {
			step = max(step, 17)
		}
		for i, line := range lines {
			path := filepath.Join(l.config.Dir, line.file)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			start := bytes.Index(whole, line.text)
			for at := random.IntN(step); at < len(line.text); at += step {
				damaged := bytes.Clone(whole)
				damaged[start+at] ^= byte(1 + random.IntN(255))
				if err := os.WriteFile(path, damaged, 0o600); err != nil {
					t.Fatal(err)
				}
				want := Fault{File: line.file, Line: line.line, N: number(t, line), What: Changed}
				if i == len(lines)-1 && at == len(line.text)-1 {
					want.What = Cut
				}
				l.fault(t, fmt.Sprintf("byte %d of %s", at, line.text), want)
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestEveryLine(t *testing.T) {
	logs(t, func(t *testing.T, l *testLog) {
		lines := l.lines(t)
		for i, line := range lines {
			want := Fault{File: line.file, Line: line.line, N: number(t, line), What: Removed}
			if i == len(lines)-1 {
				want.What = Cut
			}
			l.put(t, slices.Delete(slices.Clone(lines), i, i+1))
			l.fault(t, "deleted", want)

			twice := Fault{File: line.file, Line: line.line + 1, N: want.N + 1, What: Inserted}
			l.put(t, slices.Insert(slices.Clone(lines), i, line))
			l.fault(t, "duplicated", twice)

			garbage := testLine{line.file, 0, []byte("garbage\n")}
			l.put(t, slices.Insert(slices.Clone(lines), i, garbage))
			l.fault(t, "garbage before", Fault{File: line.file, Line: line.line, N: want.N, What: Inserted})

			for j := i + 1; j < len(lines); j += min(lineStep, 17) + i%7 {
				swapped := slices.Clone(lines)
				swapped[i].text, swapped[j].text = lines[j].text, lines[i].text
				l.put(t, swapped)
				l.fault(t, fmt.Sprintf("swapped with %d", j), Fault{File: line.file, Line: line.line, N: want.N, What: Reordered})
			}
		}
	})
}

func TestEveryCut(t *testing.T) {
	logs(t, func(t *testing.T, l *testLog) {
		lines := l.lines(t)
		whole, err := os.ReadFile(filepath.Join(l.config.Dir, current))
		if err != nil {
			t.Fatal(err)
		}
		step := byteStep
		if testing.Short() {
			step = max(step, 17)
		}
		for size := len(whole) - 1; size >= 0; size -= step {
			if err := os.WriteFile(filepath.Join(l.config.Dir, current), whole[:size], 0o600); err != nil {
				t.Fatal(err)
			}
			line := 1 + bytes.Count(whole[:size], []byte("\n"))
			i := slices.IndexFunc(lines, func(l testLine) bool { return l.file == current && l.line == line })
			l.fault(t, fmt.Sprintf("%d bytes left", size), Fault{File: current, Line: line, N: number(t, lines[i]), What: Cut})
		}
	})
}

// Whole files that are missing.
func TestEveryFile(t *testing.T) {
	l := newTestLog(t)
	l.config.MaxFile, l.config.Keep = leastFile, 4
	for range 5 {
		l.run(t, 30)
	}
	lines := l.lines(t)
	r := l.clean(t)
	if r.Files != 4 || r.First == 1 {
		t.Fatalf("%+v", r)
	}
	var last testLine
	for i, line := range lines {
		if line.line == 1 {
			rest := slices.DeleteFunc(slices.Clone(lines), func(l testLine) bool { return l.file == line.file })
			l.put(t, rest)
			want := Fault{File: last.file, Line: last.line + 1, N: number(t, line)}
			if i == 0 {
				want.File, want.Line = rest[0].file, 1
			}
			l.fault(t, line.file+" removed", want)
			l.run(t, 3)
			l.fault(t, line.file+" removed, and a start", want)
		}
		last = line
	}
	l.put(t, nil)
	l.fault(t, "all removed", Fault{File: current, Line: 1, N: 1, What: Cut})
	l.run(t, 3)
	l.fault(t, "all removed, and a start", Fault{File: current, Line: 1, N: 1, What: Removed})
}

// rechain makes the hashes of lines from i on anew, as anybody can.
func rechain(t *testing.T, lines []testLine, i int) []testLine {
	t.Helper()
	out := slices.Clone(lines)
	before := origin
	for j, line := range out {
		var r Record
		if err := json.Unmarshal(line.text, &r); err != nil {
			t.Fatal(err)
		}
		if j == 0 && r.Prev != "" {
			before = r.Prev
		}
		if j >= i {
			if r.Prev != "" {
				r.Prev = before
			}
			out[j].text = r.line(nil, before)
		}
		before = r.Hash
	}
	return out
}

func TestForgedChain(t *testing.T) {
	logs(t, func(t *testing.T, l *testLog) {
		lines := l.lines(t)
		for i, line := range lines {
			forged := slices.Clone(lines)
			forged[i].text = bytes.Replace(line.text, []byte(`"outcome":"`), []byte(`"outcome":"not-`), 1)
			l.put(t, rechain(t, forged, i))
			_, err := l.verify()
			f := new(Fault)
			n := number(t, line)
			if !errors.As(err, &f) || f.What != Forged || f.N > n || f.Last < n {
				t.Errorf("record %d: %v", n, err)
			}
		}
		l.put(t, lines)
		l.clean(t)
	})
}

// Without their signatures checkpoints vouch for nothing; the anchor still does.
func TestStrippedSignatures(t *testing.T) {
	logs(t, func(t *testing.T, l *testLog) {
		lines := l.lines(t)
		for i, line := range lines {
			if a, b, ok := bytes.Cut(line.text, []byte(`,"sig":"`)); ok {
				_, b, _ = bytes.Cut(b, []byte(`"`))
				lines[i].text = slices.Concat(a, b)
			}
		}
		l.put(t, rechain(t, lines, 0))
		_, err := l.verify()
		if f := new(Fault); !errors.As(err, &f) || f.What != Forged {
			t.Error(err)
		}
		_, err = Verify(l.config.Dir, l.config.Identity.Public(), Anchor{})
		if f := new(Fault); !errors.As(err, &f) || f.What != Forged {
			t.Errorf("without anchor: %v", err)
		}
	})
}

func TestForeignKey(t *testing.T) {
	l, other := newTestLog(t), newTestLog(t)
	l.run(t, 5)
	other.run(t, 5)
	l.put(t, other.lines(t))
	_, err := Verify(l.config.Dir, l.config.Identity.Public(), Anchor{})
	if f := new(Fault); !errors.As(err, &f) || f.What != Forged {
		t.Errorf("another device's log: %v", err)
	}
}

// A device that gets a new key goes on with its log, and what it wrote before is
// vouched for by the new key.
func TestNewIdentity(t *testing.T) {
	l := newTestLog(t)
	l.run(t, 20)
	old := l.config.Identity
	l.config.Identity = newTestLog(t).config.Identity
	l.run(t, 20)
	l.clean(t)
	lines := l.lines(t)
	forged := slices.Clone(lines)
	forged[3].text = bytes.Replace(forged[3].text, []byte("user-"), []byte("loser-"), 1)
	l.put(t, rechain(t, forged, 3))
	_, err := Verify(l.config.Dir, l.config.Identity.Public(), Anchor{})
	if f := new(Fault); !errors.As(err, &f) || f.What != Forged || f.N > 4 || f.Last < 4 {
		t.Error(err)
	}
	l.put(t, lines)
	if _, err := Verify(l.config.Dir, old.Public(), Anchor{}); err == nil || !strings.Contains(err.Error(), current) {
		t.Errorf("the old key vouches for the new one: %v", err)
	}
}

// Nobody can add to a log that was closed.
func TestAppended(t *testing.T) {
	l := newTestLog(t)
	l.run(t, 5)
	lines := l.lines(t)
	last := lines[len(lines)-1]
	r := newRecord(&acl.Event{Kind: acl.EventUser, Outcome: acl.OutcomeOK, Object: "mallory"}, time.Now())
	r.N = number(t, last) + 1
	before, _ := parse(bytes.TrimSpace(last.text))
	l.put(t, append(slices.Clone(lines), testLine{current, last.line + 1, r.line(nil, before.Hash)}))
	want := Fault{File: current, Line: last.line + 1, N: r.N, What: Inserted}
	l.fault(t, "appended", want)
	l.run(t, 2)
	for r := range Read(l.config.Dir, Filter{}) {
		if r.Object == "mallory" {
			t.Error("a start takes over what was appended")
		}
	}
	l.clean(t)
}
