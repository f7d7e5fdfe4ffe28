package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey/acl"
)

// A crash leaves a log of any length behind its anchor, and a start makes it
// whole.
func TestTornTail(t *testing.T) {
	l := newTestLog(t)
	l.run(t, 10)
	before := len(l.lines(t))
	anchor := l.anchor
	l.run(t, 4)
	lines := l.lines(t)
	start, size := 0, 0
	for i, line := range lines {
		if size += len(line.text); i < before {
			start += len(line.text)
		}
	}
	whole, err := os.ReadFile(filepath.Join(l.config.Dir, current))
	if err != nil {
		t.Fatal(err)
	}
	for n := start; n <= size; n += 2*byteStep - 1 {
		for _, tail := range []string{"", strings.Repeat("\x00", 300), "\n"} {
			l.put(t, []testLine{{current, 1, append(slices.Clone(whole[:n]), tail...)}})
			l.anchor = anchor
			l.run(t, 1)
			r := l.clean(t)
			said := 0
			for _, rec := range l.read(t, Filter{Kinds: []acl.EventKind{acl.EventAuditLost}}) {
				said++
				if !strings.Contains(rec.Detail, "cut off") {
					t.Errorf("%+v", rec)
				}
			}
			torn := n < size && whole[n-1] != '\n' || tail != ""
			if tail == "\n" && n < size && whole[n] == '\n' {
				torn = false
			}
			if torn != (said == 1) || r.Torn != 0 || r.Last < uint64(before) {
				t.Errorf("%d bytes and %q: %d records of it; %+v", n, tail, said, r)
			}
		}
	}
}

// A crash while a file is begun.
func TestTornBegin(t *testing.T) {
	l := newTestLog(t)
	l.config.MaxFile = leastFile
	l.run(t, 40)
	lines := l.lines(t)
	first := slices.IndexFunc(lines, func(l testLine) bool { return l.file == current })
	last, err := parse(lines[first-1].text[:len(lines[first-1].text)-1])
	if err != nil {
		t.Fatal(err)
	}
	for n := -1; n < len(lines[first].text); n += 2*byteStep - 1 {
		rest := slices.Clone(lines[:first])
		if n >= 0 {
			rest = append(rest, testLine{current, 1, lines[first].text[:n]})
		}
		l.put(t, rest)
		l.anchor = anchorOf(last.N, last.Hash)
		l.clean(t)
		l.run(t, 1)
		l.clean(t)
		l.run(t, 1)
		if r := l.clean(t); r.First != 1 || r.Last < last.N+3 {
			t.Errorf("%d bytes: %+v", n, r)
		}
	}
}

// Damage is named by Verify, whatever is recorded after it.
func TestDamageStays(t *testing.T) {
	logs(t, func(t *testing.T, l *testLog) {
		l.config.Keep = 100
		lines, anchor := l.lines(t), l.anchor
		for i := range lines {
			if i%lineStep != 0 && lines[i].line != 1 {
				continue
			}
			for name, damage := range map[string]func() []testLine{
				"changed": func() []testLine {
					out := slices.Clone(lines)
					out[i].text = []byte(strings.Replace(string(out[i].text), `"kind":"`, `"kind":"x`, 1))
					return out
				},
				"removed": func() []testLine { return slices.Delete(slices.Clone(lines), i, i+1) },
				"cut":     func() []testLine { return lines[:i] },
				"forged": func() []testLine {
					out := slices.Clone(lines)
					out[i].text = []byte(strings.Replace(string(out[i].text), `"kind":"`, `"kind":"x`, 1))
					return rechain(t, out, i)
				},
			} {
				l.put(t, damage())
				l.anchor = anchor
				want := new(Fault)
				if _, err := l.verify(); !errors.As(err, &want) {
					t.Fatalf("%s: %v", name, err)
				}
				for start := range 3 {
					l.run(t, 2)
					got := new(Fault)
					_, err := l.verify()
					same := errors.As(err, &got) && got.N == want.N
					if name == "cut" && errors.As(err, &got) {
						same = got.N <= want.N
					}
					if !same {
						t.Errorf("record %d, %s, start %d: %v, before %v", number(t, lines[i]), name, start, err, want)
					}
				}
			}
		}
		l.put(t, lines)
	})
}

// An owner without a word about the end, as after the loss of access.db.
func TestNoAnchor(t *testing.T) {
	l := newTestLog(t)
	l.config.Anchor, l.config.SetAnchor = nil, nil
	l.run(t, 5)
	l.run(t, 5)
	if r := l.clean(t); r.Anchored != 0 || r.Sealed != r.Last {
		t.Errorf("%+v", r)
	}
	lines := l.lines(t)
	lines[2].text = []byte(strings.Replace(string(lines[2].text), `"kind":"`, `"kind":"x`, 1))
	l.put(t, lines)
	l.run(t, 5)
	l.fault(t, "changed", Fault{File: rotatedName(1), Line: 3, N: 3, What: Changed})
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(Config{Dir: t.TempDir()}); err == nil {
		t.Error("without an identity")
	}
	l := newTestLog(t)
	l.config.Dir = filepath.Join(l.config.Dir, "file")
	if err := os.WriteFile(l.config.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(l.config); err == nil {
		t.Error("in a file")
	}
	if _, err := Verify(l.config.Dir, "no key", Anchor{}); err == nil {
		t.Error("with no key")
	}
}

func TestFaultErrors(t *testing.T) {
	for want, f := range map[string]Fault{
		"audit.jsonl:3: record 7: changed":                            {What: Changed, N: 7},
		"audit.jsonl:3: not a record: changed":                        {What: Changed},
		"audit.jsonl:3: record 7 missing: removed":                    {What: Removed, N: 7, Last: 7},
		"audit.jsonl:3: records 7 to 9 missing: removed":              {What: Cut, N: 7, Last: 9},
		"audit.jsonl:3: record 7 is not here but later: moved":        {What: Reordered, N: 7},
		"audit.jsonl:3: a record that does not belong here: inserted": {What: Inserted, N: 7},
	} {
		f.File, f.Line = current, 3
		if got := f.Error(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if text := fmt.Sprint(&Fault{What: Forged, File: current, Line: 3, N: 1, Last: 2}); !strings.Contains(text, "records 1 to 2") {
		t.Error(text)
	}
}

// Behind the last checkpoint only the anchor tells that a chain was made anew.
func TestForgedTail(t *testing.T) {
	l := newTestLog(t)
	l.run(t, 9)
	lines := l.lines(t)
	lines = lines[:len(lines)-1] // as if the process had been killed
	last, err := parse(lines[len(lines)-1].text[:len(lines[len(lines)-1].text)-1])
	if err != nil {
		t.Fatal(err)
	}
	l.anchor = anchorOf(last.N, last.Hash)
	l.put(t, lines)
	l.clean(t)
	lines[4].text = []byte(strings.Replace(string(lines[4].text), `"kind":"`, `"kind":"x`, 1))
	l.put(t, rechain(t, lines, 4))
	want := Fault{What: Forged, File: current, Line: 2, N: 2}
	l.fault(t, "forged", want)
	l.run(t, 3)
	want.File = rotatedName(1)
	l.fault(t, "forged, and a start", want)
}
