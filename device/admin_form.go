package device

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"unicode/utf8"

	"github.com/latchkey-dev/latchkey"
)

// maxForm is the longest body of an administrator's request in bytes, except
// for policies.
const maxForm = 16 << 10

// fields are the variables that the fields of a JSON object are read into.
type fields map[string]any

// readForm reads one JSON object (RFC 8259): fields that must be there, and others
// that may. Fields that are unknown, repeated, spelled otherwise or null, and
// anything after the object, are latchkey.ErrProtocol. Nothing at all is the
// empty object. It returns which fields there were.
func readForm(text []byte, must, may fields) (there map[string]bool, err error) {
	if len(text) > maxForm {
		return nil, fmt.Errorf("body of %d bytes: %w", len(text), latchkey.ErrTooLarge)
	}
	if len(text) == 0 {
		text = []byte("{}")
	}
	known := maps.Clone(may)
	if known == nil {
		known = fields{}
	}
	maps.Copy(known, must)
	there, err = parseForm(text, known)
	for name := range must {
		if err == nil && !there[name] {
			err = fmt.Errorf("field %q is missing", name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", latchkey.ErrProtocol, err)
	}
	return there, nil
}

func parseForm(text []byte, known fields) (map[string]bool, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("the body is not a JSON object")
	}
	there := make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errors.New("the body is not a JSON object")
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
		return nil, errors.New("the body is not a JSON object")
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
