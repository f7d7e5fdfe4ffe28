package audit

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// KindCheckpoint is the kind of the records that the device signs.
const KindCheckpoint acl.EventKind = "checkpoint"

const (
	maxText = 128  // bytes of a text in a record, after escaping
	maxLine = 4096 // bytes of a line; what Log writes is far shorter
	digits  = 20   // of a number

	timeLayout = "2006-01-02T15:04:05.000000Z"
)

// A Record is one line of the log. Texts are escaped already: they can be
// printed on a terminal as they are.
type Record struct {
	N       uint64               `json:"n"` // from 1, without gaps
	Time    time.Time            `json:"time"`
	Kind    acl.EventKind        `json:"kind"`
	Outcome acl.Outcome          `json:"outcome"`
	Console bool                 `json:"console,omitzero"`
	Key     latchkey.Fingerprint `json:"key,omitzero"`
	User    string               `json:"user,omitzero"`
	Action  acl.Action           `json:"action,omitzero"`
	Object  string               `json:"object,omitzero"`
	Detail  string               `json:"detail,omitzero"`
	Code    latchkey.Code        `json:"code,omitzero"`
	Path    acl.PathKind         `json:"path,omitzero"`
	Source  string               `json:"source,omitzero"`
	// Repeats is how many events this record stands for, when they were not
	// written one by one. They are not counted in any other record.
	Repeats uint64 `json:"repeats,omitzero"`

	// Of checkpoints.
	First uint64 `json:"first,omitzero"` // at the begin of a file: the oldest record that is kept
	Prev  string `json:"prev,omitzero"`  // hash of the record before
	Sig   string `json:"sig,omitzero"`   // by Key, over all before it in the line

	Hash string `json:"hash"` // over the hash before and all before it in the line
}

// tidy makes the texts of an event fit for a record.
func tidy(e acl.Event) acl.Event {
	e.Kind, e.Outcome = acl.EventKind(clean(string(e.Kind))), acl.Outcome(clean(string(e.Outcome)))
	e.Action, e.Path = acl.Action(clean(string(e.Action))), acl.PathKind(clean(string(e.Path)))
	e.User, e.Object, e.Detail = clean(e.User), clean(e.Object), clean(e.Detail)
	return e
}

// newRecord makes a record, without number and hash, of a tidy event.
func newRecord(e *acl.Event, at time.Time) *Record {
	r := &Record{
		Time: at.UTC().Truncate(time.Microsecond), Kind: e.Kind, Outcome: e.Outcome, Console: e.Console,
		Key: e.Key, User: e.User, Action: e.Action, Object: e.Object, Detail: e.Detail, Code: e.Code, Path: e.Path,
	}
	if e.Source.IsValid() {
		r.Source = clean(e.Source.String())
	}
	return r
}

// clean makes a text of others fit for a line and a terminal: what cannot be
// seen, or changes how its neighbours are seen, is escaped as in a Go string,
// and what is too long is cut and ends with an ellipsis.
func clean(s string) string {
	if len(s) <= maxText && !strings.ContainsFunc(s, odd) {
		return s
	}
	const more = "…"
	var out []byte
	for i := 0; i < len(s); {
		c, size := utf8.DecodeRuneInString(s[i:])
		before := len(out)
		if piece := s[i : i+size]; odd(c) {
			quoted := strconv.Quote(piece)
			out = append(out, quoted[1:len(quoted)-1]...)
		} else {
			out = append(out, piece...)
		}
		i += size
		if len(out) > maxText-len(more) && (i < len(s) || len(out) > maxText) {
			return string(append(out[:before], more...))
		}
	}
	return string(out)
}

func odd(c rune) bool { return c == '\\' || c == utf8.RuneError || !unicode.IsPrint(c) }

// body appends the line up to what a checkpoint's signature covers.
func (r *Record) body(b []byte) []byte {
	b = strconv.AppendUint(append(b, `{"n":`...), r.N, 10)
	b = r.Time.UTC().AppendFormat(append(b, `,"time":"`...), timeLayout)
	b = append(b, '"')
	b = appendText(b, "kind", string(r.Kind))
	b = appendText(b, "outcome", string(r.Outcome))
	if r.Console {
		b = append(b, `,"console":true`...)
	}
	b = appendText(b, "key", r.Key.String())
	b = appendText(b, "user", r.User)
	b = appendText(b, "action", string(r.Action))
	b = appendText(b, "object", r.Object)
	b = appendText(b, "detail", r.Detail)
	b = appendNumber(b, "code", uint64(r.Code))
	b = appendText(b, "path", string(r.Path))
	b = appendText(b, "source", r.Source)
	b = appendNumber(b, "repeats", r.Repeats)
	b = appendNumber(b, "first", r.First)
	return appendText(b, "prev", r.Prev)
}

// size is how many bytes the line of a record without number will have, or a few
// more.
func (r *Record) size() int {
	return len(r.body(nil)) + len(`,"hash":"","`) + hashSize + digits
}

// finish appends the rest of the line to its body.
func finish(body []byte, hash string) []byte {
	return append(append(append(body, `,"hash":"`...), hash...), "\"}\n"...)
}

// appendText appends a field. Its text was cleaned, so that only two
// characters need an escape.
func appendText(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":"`...)
	for i := range len(text) {
		if text[i] == '"' || text[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, text[i])
	}
	return append(b, '"')
}

func appendNumber(b []byte, name string, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(append(append(append(b, `,"`...), name...), `":`...), n, 10)
}

var errLine = errors.New("not a line that this log writes")

// parse reads a line without its newline. There is one spelling for a record,
// the one that is written; others are errLine.
func parse(line []byte) (*Record, error) {
	if len(line) > maxLine {
		return nil, errLine
	}
	r := new(Record)
	if json.Unmarshal(line, r) != nil || len(r.Hash) != hashSize {
		return nil, errLine
	}
	b := r.body(make([]byte, 0, len(line)+1))
	if r.Sig != "" {
		b = appendText(b, "sig", r.Sig)
	}
	if string(finish(b, r.Hash)) != string(line)+"\n" {
		return nil, errLine
	}
	return r, nil
}
