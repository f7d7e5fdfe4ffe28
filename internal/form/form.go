package form

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// Read reads one JSON object (RFC 8259) into the variables that known has for its
// fields, and says which there were. Fields that are unknown, repeated, spelled
// otherwise or null, lists that hold null, and anything after the object are
// errors. Of a text that is one, some variables may be set.
func Read(text []byte, known map[string]any) (map[string]bool, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	there := make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errors.New("not a JSON object")
		}
		field, ok := known[name]
		if !ok || there[name] {
			return nil, fmt.Errorf("field %q is unknown or repeated", name)
		}
		there[name] = true
		if err := readField(d, field); err != nil {
			return nil, fmt.Errorf("field %q: %w", name, err)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("not a JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return there, nil
}

func readField(d *json.Decoder, into any) error {
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return err
	}
	if hasNull(raw) {
		return errors.New("null is no value")
	}
	return json.Unmarshal(raw, into)
}

// hasNull reports whether a JSON value is null or a list that holds one.
func hasNull(raw []byte) bool {
	d := json.NewDecoder(bytes.NewReader(raw))
	for {
		t, err := d.Token()
		switch {
		case err != nil:
			return false
		case t == nil:
			return true
		}
	}
}

// Printable reports whether a text is UTF-8, and people can see all of it.
func Printable(s string) bool {
	for _, c := range s {
		if !unicode.IsPrint(c) {
			return false
		}
	}
	return utf8.ValidString(s)
}
