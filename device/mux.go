package device

import (
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey-dev/latchkey"
)

// A Mux chooses a handler by method and path. Patterns are "METHOD /path", with
// {name} for one segment and a last {name...} for the rest, which may be empty:
//
//	GET /light/{id}
//	PUT /files/{path...}
//
// The most specific pattern wins. Patterns of one method that overlap without
// one being more specific panic, as in net/http. A path that is known under
// another method only answers latchkey.ErrMethodNotAllowed.
type Mux struct{ entries []entry }

type entry struct {
	pattern    string
	method     Method
	segments   []segment
	observable bool
	handler    Handler
}

// A segment of a pattern: a literal, {name} or {name...}.
type segment struct {
	literal string
	name    string // "" for a literal
	rest    bool
}

// NewMux returns an empty Mux.
func NewMux() *Mux { return new(Mux) }

// Handle registers h for pattern. It panics on a bad or conflicting pattern.
func (m *Mux) Handle(pattern string, h Handler) { m.add(pattern, h, false) }

// HandleFunc registers f for pattern. It panics on a bad or conflicting pattern.
func (m *Mux) HandleFunc(pattern string, f func(ResponseWriter, *Request)) {
	m.add(pattern, HandlerFunc(f), false)
}

// HandleObservable registers a GET handler whose resource can be observed (RFC
// 7641): Device.Notify runs it again for each observer.
func (m *Mux) HandleObservable(pattern string, h Handler) { m.add(pattern, h, true) }

func (m *Mux) add(pattern string, h Handler, observable bool) {
	e, err := parsePattern(pattern)
	switch {
	case err != nil:
		panic(fmt.Sprintf("device: pattern %q: %v", pattern, err))
	case h == nil:
		panic(fmt.Sprintf("device: pattern %q has no handler", pattern))
	case observable && e.method != GET:
		panic(fmt.Sprintf("device: pattern %q: only GET can be observed", pattern))
	}
	for _, o := range m.entries {
		if o.method == e.method && overlap(o.segments, e.segments) && covers(o.segments, e.segments) == covers(e.segments, o.segments) {
			panic(fmt.Sprintf("device: pattern %q conflicts with %q", pattern, o.pattern))
		}
	}
	e.handler, e.observable = h, observable
	m.entries = append(m.entries, e)
}

func parsePattern(pattern string) (entry, error) {
	method, path, ok := strings.Cut(pattern, " ")
	e := entry{pattern: pattern, method: parseMethod(method)}
	if !ok || e.method == 0 || !strings.HasPrefix(path, "/") {
		return e, fmt.Errorf("want METHOD /path")
	}
	parts := splitPath(path)
	for i, part := range parts {
		s := segment{literal: part}
		if strings.HasPrefix(part, "{") && strings.HasSuffix(part, "}") {
			s = segment{name: part[1 : len(part)-1]}
			s.name, s.rest = strings.CutSuffix(s.name, "...")
			if s.name == "" || (s.rest && i < len(parts)-1) {
				return e, fmt.Errorf("bad wildcard %q", part)
			}
		} else if part == "" || strings.ContainsAny(part, "{}") {
			return e, fmt.Errorf("bad segment %q", part)
		}
		e.segments = append(e.segments, s)
	}
	return e, nil
}

// splitPath returns the segments of a cleaned path; none for "/".
func splitPath(path string) []string {
	if path == "/" {
		return nil
	}
	return strings.Split(path[1:], "/")
}

// covers reports whether every path that b matches is matched by a.
func covers(a, b []segment) bool {
	for i, s := range a {
		switch {
		case s.rest:
			return true
		case i >= len(b) || b[i].rest:
			return false
		case s.name == "" && (b[i].name != "" || b[i].literal != s.literal):
			return false
		}
	}
	return len(a) == len(b)
}

// overlap reports whether some path is matched by both.
func overlap(a, b []segment) bool {
	for i := range max(len(a), len(b)) {
		switch {
		case i < len(a) && a[i].rest, i < len(b) && b[i].rest:
			return true
		case i >= len(a) || i >= len(b):
			return false
		case a[i].name == "" && b[i].name == "" && a[i].literal != b[i].literal:
			return false
		}
	}
	return true
}

// match returns the values of the wildcards, or false.
func (e *entry) match(parts []string) (map[string]string, bool) {
	var values map[string]string
	set := func(name, value string) {
		if values == nil {
			values = make(map[string]string, 1)
		}
		values[name] = value
	}
	for i, s := range e.segments {
		switch {
		case s.rest:
			set(s.name, strings.Join(parts[i:], "/"))
			return values, true
		case i >= len(parts):
			return nil, false
		case s.name != "":
			set(s.name, parts[i])
		case s.literal != parts[i]:
			return nil, false
		}
	}
	return values, len(parts) == len(e.segments)
}

// find returns the most specific entry for method and path. Without one, known
// tells whether another method has the path.
func (m *Mux) find(method Method, path string) (best *entry, values map[string]string, known bool) {
	parts := splitPath(path)
	for i := range m.entries {
		e := &m.entries[i]
		v, ok := e.match(parts)
		if !ok {
			continue
		}
		known = true
		if e.method == method && (best == nil || covers(best.segments, e.segments)) {
			best, values = e, v
		}
	}
	return best, values, known
}

// ServeCoAP implements Handler.
func (m *Mux) ServeCoAP(w ResponseWriter, r *Request) {
	e, values, known := m.find(r.Method, r.Path)
	switch {
	case e != nil:
		r.values = values
		e.handler.ServeCoAP(w, r)
	case known:
		Error(w, latchkey.ErrMethodNotAllowed)
	default:
		Error(w, latchkey.ErrNotFound)
	}
}

// Observable implements Catalogue.
func (m *Mux) Observable(path string) bool {
	e, _, _ := m.find(GET, path)
	return e != nil && e.observable
}

// Resources implements Catalogue: the paths without wildcards, sorted.
func (m *Mux) Resources() []string {
	var paths []string
	for _, e := range m.entries {
		_, path, _ := strings.Cut(e.pattern, " ")
		if !strings.Contains(path, "{") {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}
