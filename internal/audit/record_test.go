package audit

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-dev/latchkey/acl"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"/light/1":                   "/light/1",
		"Größe ≥ 3":                  "Größe ≥ 3",
		"a\nb\r\t\x00\x1b[1m":        `a\nb\r\t\x00\x1b[1m`,
		"\u202eevil\u2066":           `\u202eevil\u2066`,
		"zero\u200bwidth":            `zero\u200bwidth`,
		"bad\xff\xc3":                `bad\xff\xc3`,
		`back\slash "word"`:          `back\\slash "word"`,
		"\u2028\u0085\u00a0":         `\u2028\u0085\u00a0`,
		strings.Repeat("x", 128):     strings.Repeat("x", 128),
		strings.Repeat("x", 129):     strings.Repeat("x", 125) + "…",
		strings.Repeat("\x1b", 1000): strings.Repeat(`\x1b`, 31) + "…",
		strings.Repeat("ü", 65):      strings.Repeat("ü", 62) + "…",
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "a\n", "\u202e", "\xff", strings.Repeat("\\", 200), strings.Repeat("ü", 64)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		if len(got) > maxText || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q becomes %q", s, got)
		}
		e := tidy(acl.Event{Kind: acl.EventUser, Outcome: acl.OutcomeOK, User: s, Object: s, Detail: s, Action: acl.Action(s), Path: acl.PathKind(s)})
		r := newRecord(&e, time.Unix(1e9, 0))
		line := r.line(nil, origin)
		back, err := parse(line[:len(line)-1])
		if err != nil || *back != *r {
			t.Errorf("%q: %v\n%+v\n%+v", line, err, back, r)
		}
		var plain map[string]any
		if err := json.Unmarshal(line, &plain); err != nil || bytes.Count(line, []byte("\n")) != 1 || len(line) > maxLine/2 {
			t.Errorf("%q: %v", line, err)
		}
	})
}

// What parse takes is spelled as it is written, so that no reader of JSON sees
// another record in it than Verify does.
func FuzzParse(f *testing.F) {
	e := tidy(event(3))
	e.Source = netip.MustParseAddr("fe80::1%eth0")
	whole := newRecord(&e, time.Unix(1e9, 1000))
	whole.N, whole.Repeats, whole.First, whole.Prev, whole.Sig = 7, 3, 1, origin, "AAAA"
	for _, r := range []*Record{whole, {}, newRecord(&acl.Event{}, time.Time{})} {
		line := r.line(nil, origin)
		f.Add(line[:len(line)-1])
	}
	f.Add([]byte(`{"n":1,"N":2}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parse(line)
		if err != nil {
			return
		}
		b := r.body(nil)
		if r.Sig != "" {
			b = appendText(b, "sig", r.Sig)
		}
		if got := finish(b, r.Hash); !bytes.Equal(got[:len(got)-1], line) {
			t.Errorf("%q is read as %q", line, got)
		}
		_ = r.follows(origin, line)
	})
}

func TestParseRefuses(t *testing.T) {
	e := event(3)
	line := newRecord(&e, time.Unix(1e9, 0)).line(nil, origin)
	line = line[:len(line)-1]
	if _, err := parse(line); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`{"n"`, `{ "n"`},
		{`{"n"`, `{"N"`},
		{`"kind"`, `"outcome"`},
		{`}`, `} `},
		{`}`, `,"more":1}`},
		{`}`, `,"n":1}`},
		{`access`, `\u0061ccess`},
		{`access`, "acc\ress"},
		{`00Z`, `00+00:00`},
		{`"n":0`, `"n":00`},
		{`"n":0`, `"n":0.0`},
		{`"n":0`, `"n":"0"`},
		{`"hash":"`, `"hash":"0`},
		{`access`, "\xff"},
		{`"code":4`, `"code":260`},
		{`"code":4`, `"code":4,"first":0`},
	} {
		changed := bytes.Replace(line, []byte(change[0]), []byte(change[1]), 1)
		if r, err := parse(changed); err == nil || bytes.Equal(changed, line) {
			t.Errorf("%s: %+v", changed, r)
		}
	}
}
