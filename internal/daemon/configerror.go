package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/token"
)

// A ConfigError says what is wrong in a configuration file, and where.
type ConfigError struct {
	File         string
	Line, Column int // from 1; 0 when the whole file is meant
	Message      string
	Source       string // the line itself
}

// Error implements error: FILE:LINE:COLUMN and message, then the line with a
// mark below the column.
func (e *ConfigError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Message
	}
	number := fmt.Sprintf("%5d", e.Line)
	mark := strings.Repeat(" ", len(number)) + " | " + indent(e.Source, e.Column-1) + "^"
	return fmt.Sprintf("%s:%d:%d: %s\n%s | %s\n%s", e.File, e.Line, e.Column, e.Message, number, e.Source, mark)
}

// indent is the width of the first n characters of line in blanks; tabs stay.
func indent(line string, n int) string {
	var b strings.Builder
	for i, r := range []rune(line) {
		if i >= n {
			break
		}
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

func errorAt(path string, text []byte, tk *token.Token, message string) *ConfigError {
	e := &ConfigError{File: path, Message: message}
	if tk == nil || tk.Position == nil {
		return e
	}
	e.Line, e.Column = tk.Position.Line, tk.Position.Column
	if lines := bytes.Split(text, []byte("\n")); e.Line >= 1 && e.Line <= len(lines) {
		e.Source = strings.TrimRight(string(lines[e.Line-1]), "\r")
	}
	return e
}

// decodeStrict decodes exactly one YAML document, or none, into v and refuses
// fields that v does not have.
func decodeStrict(path string, text []byte, v any) error {
	d := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	err := d.Decode(v)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return located(path, text, err)
	}
	var more any
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return &ConfigError{File: path, Message: "there is more than one YAML document in it"}
	}
	return nil
}

// located turns an error of the YAML library into a *ConfigError.
func located(path string, text []byte, err error) error {
	var e yaml.Error
	if errors.As(err, &e) {
		return errorAt(path, text, e.GetToken(), e.GetMessage())
	}
	return &ConfigError{File: path, Message: err.Error()}
}
