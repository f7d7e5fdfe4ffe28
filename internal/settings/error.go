package settings

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/token"
)

// An Error says what is wrong in a configuration file, and where.
type Error struct {
	File         string
	Line, Column int // from 1; 0 when the whole file is meant
	Message      string
	Source       string // the line itself
}

// Error implements error: FILE:LINE:COLUMN and message, then the line with a
// mark below the column.
func (e *Error) Error() string {
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

// NextStep returns what to do about it.
func (e *Error) NextStep() string { return "correct " + e.File }

// ErrorAt makes an Error with the place of n in text.
func ErrorAt(path string, text []byte, n Node, message string) *Error {
	return errorAt(path, text, place(n), message)
}

func errorAt(path string, text []byte, tk *token.Token, message string) *Error {
	e := &Error{File: path, Message: message}
	if tk == nil || tk.Position == nil {
		return e
	}
	e.Line, e.Column = tk.Position.Line, tk.Position.Column
	if lines := bytes.Split(text, []byte("\n")); e.Line >= 1 && e.Line <= len(lines) {
		e.Source = strings.TrimRight(string(lines[e.Line-1]), "\r")
	}
	return e
}
