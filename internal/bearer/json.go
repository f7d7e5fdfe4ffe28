package bearer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	maxDepth  = 8
	maxValues = 2048 // of one text, names included
)

var errJSON = errors.New("not the JSON that is accepted")

// parseObject reads a JSON object into strings, json.Numbers, bools, nils, []any
// and map[string]any. Nothing may stand there that two readers could take for
// different things: no name twice, no invalid UTF-8 or lone surrogate, no zero
// byte, nothing behind the end.
func parseObject(b []byte) (map[string]any, error) {
	if !utf8.Valid(b) {
		return nil, errJSON
	}
	p := &parser{dec: json.NewDecoder(bytes.NewReader(b))}
	p.dec.UseNumber()
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if _, err := p.dec.Token(); !ok || !errors.Is(err, io.EOF) {
		return nil, errJSON
	}
	return object, nil
}

type parser struct {
	dec    *json.Decoder
	values int
}

func (p *parser) value(depth int) (any, error) {
	t, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	if p.values++; p.values > maxValues || depth > maxDepth {
		return nil, errJSON
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return p.object(depth)
		}
		return p.array(depth)
	case string:
		return t, checkText(t)
	}
	return t, nil
}

func (p *parser) object(depth int) (any, error) {
	object := make(map[string]any)
	for p.dec.More() {
		name, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		key, ok := name.(string)
		if _, twice := object[key]; !ok || twice {
			return nil, errJSON
		}
		if object[key], err = p.value(depth + 1); err != nil {
			return nil, err
		}
	}
	_, err := p.dec.Token()
	return object, err
}

func (p *parser) array(depth int) (any, error) {
	array := []any{}
	for p.dec.More() {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		array = append(array, v)
	}
	_, err := p.dec.Token()
	return array, err
}

// checkText refuses what the decoder puts in place of lone surrogates, and zero
// bytes.
func checkText(s string) error {
	if strings.ContainsAny(s, "\uFFFD\x00") {
		return errJSON
	}
	return nil
}

// texts returns the strings in v, which is one string or an array of them.
func texts(v any) ([]string, bool) {
	switch v := v.(type) {
	case string:
		return []string{v}, true
	case []any:
		out := make([]string, len(v))
		for i := range v {
			s, ok := v[i].(string)
			if !ok {
				return nil, false
			}
			out[i] = s
		}
		return out, true
	}
	return nil, false
}
