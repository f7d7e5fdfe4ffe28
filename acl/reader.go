package acl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// A PositionError is an error in a text that a person wrote, and where.
type PositionError struct {
	File   string
	Line   int // from 1
	Column int // from 1, in characters
	Err    error
}

// Error returns file:line:column: and the cause.
func (e *PositionError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, strings.TrimPrefix(e.Err.Error(), "acl: "))
}

// Unwrap returns the cause.
func (e *PositionError) Unwrap() error { return e.Err }

// A reader takes a JSON text apart, one expected value after the other, so that
// nothing in it can be passed over. Every error is a *PositionError.
type reader struct {
	file  string
	data  []byte
	dec   *json.Decoder
	zones *zones // that times in the text name

	statements []int // where those of the policy that was read last begin
}

func newReader(file string, data []byte) *reader {
	r := &reader{file: file, data: data, dec: json.NewDecoder(bytes.NewReader(data)), zones: new(zones)}
	r.dec.UseNumber()
	return r
}

// at puts the position of an offset to an error.
func (r *reader) at(offset int, err error) error {
	line, column := r.position(offset)
	return &PositionError{File: r.file, Line: line, Column: column, Err: err}
}

// position returns line and column of an offset, both from 1.
func (r *reader) position(offset int) (line, column int) {
	before := r.data[:min(offset, len(r.data))]
	last := before[bytes.LastIndexByte(before, '\n')+1:]
	return 1 + bytes.Count(before, []byte{'\n'}), 1 + utf8.RuneCount(last)
}

// start returns the offset at which the next token begins.
func (r *reader) start() int {
	offset := int(r.dec.InputOffset())
	rest := r.data[offset:]
	return offset + len(rest) - len(bytes.TrimLeft(rest, " \t\r\n,:"))
}

// token returns the next token and where it began.
func (r *reader) token() (json.Token, int, error) {
	start := r.start()
	t, err := r.dec.Token()
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return t, start, nil
	case errors.As(err, &syntax):
		return nil, start, r.at(max(int(syntax.Offset)-1, start), err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, start, r.at(len(r.data), mistake("the text ends too early"))
	}
	return nil, start, r.at(start, err)
}

// open takes the bracket that a list or object begins with.
func (r *reader) open(bracket json.Delim, what string) error {
	t, start, err := r.token()
	if err != nil {
		return err
	}
	if t != bracket {
		return r.at(start, mistake("%s must stand here", what))
	}
	return nil
}

// object reads an object. Each field is read by the function of its name; a
// name that ends in ? may be missing.
func (r *reader) object(fields map[string]func() error) error {
	start := r.start()
	if err := r.open('{', "an object {...}"); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for r.dec.More() {
		t, at, err := r.token()
		if err != nil {
			return err
		}
		name, _ := t.(string) // JSON has no other names
		read := fields[name]
		if read == nil {
			read = fields[name+"?"]
		}
		switch {
		case read == nil || strings.HasSuffix(name, "?"):
			return r.at(at, mistake("unknown field %q", name))
		case seen[name]:
			return r.at(at, mistake("field %q stands here a second time", name))
		}
		seen[name] = true
		if err := read(); err != nil {
			return err
		}
	}
	if _, _, err := r.token(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !strings.HasSuffix(name, "?") && !seen[name] {
			return r.at(start, mistake("field %q is missing", name))
		}
	}
	return nil
}

// members reads an object of at most limit fields with names of any kind, the
// value of each by member, which gets the name and where that stands.
func (r *reader) members(limit int, member func(name string, at int) error) error {
	if err := r.open('{', "an object {...}"); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for r.dec.More() {
		t, at, err := r.token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		switch {
		case seen[name]:
			return r.at(at, mistake("field %q stands here a second time", name))
		case len(seen) == limit:
			return r.at(at, mistake("more than %d fields", limit))
		}
		seen[name] = true
		if err := member(name, at); err != nil {
			return err
		}
	}
	_, _, err := r.token()
	return err
}

// isList reports whether the next value is a list.
func (r *reader) isList() bool {
	start := r.start()
	return start < len(r.data) && r.data[start] == '['
}

// array reads a list of at most limit values, each by element.
func (r *reader) array(limit int, element func() error) error {
	if err := r.open('[', "a list [...]"); err != nil {
		return err
	}
	for n := 0; r.dec.More(); n++ {
		if n == limit {
			return r.at(r.start(), mistake("more than %d entries", limit))
		}
		if err := element(); err != nil {
			return err
		}
	}
	_, _, err := r.token()
	return err
}

// text reads a string and checks it.
func (r *reader) text(check func(string) error) (string, error) {
	t, start, err := r.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", r.at(start, mistake("a text in quotes must stand here"))
	}
	if err := check(s); err != nil {
		return "", r.at(start, err)
	}
	return s, nil
}

// texts reads a list of at least one string, and where each of them stands.
func (r *reader) texts(what string, check func(string) error) (out []string, places []int, err error) {
	start := r.start()
	err = r.array(MaxList, func() error {
		places = append(places, r.start())
		s, err := r.text(check)
		out = append(out, s)
		return err
	})
	if err == nil && len(out) == 0 {
		err = r.at(start, mistake("%s is empty", what))
	}
	return out, places, err
}

// end demands that nothing follows.
func (r *reader) end() error {
	start := r.start()
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return r.at(start, mistake("something stands behind the end"))
	}
	return nil
}
