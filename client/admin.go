package client

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/latchkey-dev/latchkey"
)

// Terms are the terms on which a change is made. The zero Terms demand nothing
// and protect the device's last administrator.
type Terms struct {
	// Version of what is changed, as it was read before. If somebody else has
	// changed it meanwhile, nothing happens and the error is a *ConflictError.
	// "" changes whatever is there, and Absent only makes something new.
	Version string
	// Force lets the change leave the device without an administrator.
	Force bool
}

// Absent is the version of what is not there.
const Absent = "absent"

// A ConflictError says that somebody else has changed meanwhile what was to be
// changed, and that nothing was. Read it again and repeat. It matches
// latchkey.ErrConflict.
type ConflictError struct {
	Op      string // "DELETE /users/alice"
	Version string // of what is there now, or Absent
	Err     error  // the device's answer
}

// Error says what to do.
func (e *ConflictError) Error() string {
	if e.Version == Absent {
		return e.Op + ": somebody else has removed it meanwhile"
	}
	return e.Op + ": somebody else has changed it meanwhile: look at it and try again"
}

// Unwrap returns the device's answer.
func (e *ConflictError) Unwrap() error { return e.Err }

// A versioned answer names the state that it shows.
type versioned struct {
	Version string `json:"version"`
}

// path joins the segments of a path, escaped.
func path(segments ...string) string {
	s := ""
	for _, segment := range segments {
		s += "/" + url.PathEscape(segment)
	}
	return s
}

// read gets a resource in JSON.
func (c *Conn) read(ctx context.Context, path string, into any) error {
	return c.exchange(ctx, &Request{Method: GET, Path: path, Accept: FormatJSON}, into)
}

// exchange sends a request and reads the answer in JSON, unless into is nil.
func (c *Conn) exchange(ctx context.Context, r *Request, into any) error {
	answer, err := c.Do(ctx, r)
	if err != nil || into == nil {
		return err
	}
	if err := json.Unmarshal(answer.Body, into); err != nil {
		return fmt.Errorf("%w: answer to %s: %w", latchkey.ErrProtocol, r.op(), err)
	}
	return nil
}

// A change is one request that changes something.
type change struct {
	method Method
	path   string
	of     string // the path whose version counts; "": none has to
	terms  Terms
	body   any // in JSON; nil: none
	into   any // what the answer is read into; nil: nothing
}

// change asks the device for a change. A refusal on account of the version is
// told from other conflicts by looking what is there now.
func (c *Conn) change(ctx context.Context, ch change) error {
	r := &Request{Method: ch.method, Path: ch.path, Format: FormatJSON, Accept: FormatJSON}
	if ch.body != nil {
		var err error
		if r.Body, err = json.Marshal(ch.body); err != nil {
			return err
		}
	}
	switch tag, err := hex.DecodeString(ch.terms.Version); {
	case ch.terms.Version == Absent:
		r.IfNoneMatch = true
	case err != nil || len(tag) > maxETag:
		return fmt.Errorf("client: %q is no version", ch.terms.Version)
	case len(tag) > 0:
		r.IfMatch = tag
	}
	if ch.terms.Force {
		r.Path += "?force=true"
	}
	err := c.exchange(ctx, r, ch.into)
	if ch.terms.Version == "" || ch.of == "" || !errors.Is(err, latchkey.ErrConflict) {
		return err
	}
	var now versioned
	looked := c.read(ctx, ch.of, &now)
	switch {
	case errors.Is(looked, latchkey.ErrNotFound):
		return &ConflictError{Op: r.op(), Version: Absent, Err: err}
	case looked == nil && now.Version != ch.terms.Version:
		return &ConflictError{Op: r.op(), Version: now.Version, Err: err}
	}
	return err
}

// maxETag is the longest ETag in bytes (RFC 7252 section 5.10.6).
const maxETag = 8

// maxPages of a list are read; no device has more.
const maxPages = 1000

// pages reads a list of which the device shows a part at a time. name says by
// what the list is sorted.
func pages[T any](ctx context.Context, c *Conn, path string, name func(T) string) ([]T, error) {
	list := []T{}
	for at, n := path, 0; n < maxPages; n++ {
		var page []T
		if err := c.read(ctx, at, &page); err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return list, nil
		}
		list = append(list, page...)
		last := name(list[len(list)-1])
		if at == after(path, last) {
			break // it has been there before
		}
		at = after(path, last)
	}
	return nil, fmt.Errorf("%w: %s has no end", latchkey.ErrProtocol, path)
}

// after is the path of the part of a list that follows a name.
func after(path, name string) string {
	return path + "?after=" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
}
