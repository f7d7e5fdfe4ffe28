package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/goccy/go-yaml"
)

// MaxSize bounds a configuration file in bytes.
const MaxSize = 1 << 20

// Read returns the content of the configuration file at path.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxSize {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, MaxSize)
	}
	return text, nil
}

// Decode decodes exactly one YAML document, or none, into v and refuses fields
// that v does not have. What is wrong in text is an *Error; path is for it.
func Decode(path string, text []byte, v any) error {
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
		return &Error{File: path, Message: "there is more than one YAML document in it"}
	}
	return nil
}

// located turns an error of the YAML library into an *Error.
func located(path string, text []byte, err error) error {
	var e yaml.Error
	if errors.As(err, &e) {
		return errorAt(path, text, e.GetToken(), e.GetMessage())
	}
	return &Error{File: path, Message: err.Error()}
}
