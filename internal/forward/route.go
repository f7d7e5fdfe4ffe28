package forward

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey-dev/latchkey"
)

// A Route leads from CoAP paths of the device to an upstream server. It is
// immutable.
type Route struct {
	pattern string
	prefix  []string // segments of the pattern before "**"
	tree    bool     // the pattern ends in "**"
	scheme  string   // coap, http or https
	host    string   // as url.URL.Host
	base    []string // segments of the upstream path that stand for prefix
}

// ParseRoute reads a pattern, "/thermostat/**" for a path and all below it or
// "/temperature" for one path, and the URL that stands for it:
// coap://HOST[:PORT][/PATH], or the same with http or https. What matches "**"
// is appended to that URL's path.
func ParseRoute(pattern, to string) (*Route, error) {
	r := &Route{pattern: pattern}
	if err := r.parsePattern(pattern); err != nil {
		return nil, err
	}
	if err := r.parseTarget(to); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Route) parsePattern(pattern string) error {
	rest, ok := strings.CutPrefix(pattern, "/")
	if !ok {
		return fmt.Errorf("route %q does not begin with /", pattern)
	}
	if rest == "" {
		return nil
	}
	r.prefix = strings.Split(rest, "/")
	if last := len(r.prefix) - 1; r.prefix[last] == "**" {
		r.prefix, r.tree = r.prefix[:last], true
	}
	for _, s := range r.prefix {
		if s == "" || strings.Contains(s, "*") {
			return fmt.Errorf("route %q: a segment is a name; ** stands alone and last", pattern)
		}
		if err := checkSegment(s); err != nil {
			return fmt.Errorf("route %q: %w", pattern, err)
		}
	}
	return nil
}

func (r *Route) parseTarget(to string) error {
	u, err := url.Parse(to)
	if err != nil {
		return fmt.Errorf("route %q: the target is not a URL", r.pattern)
	}
	switch u.Scheme {
	case "coap", "http", "https":
	default:
		return fmt.Errorf("route %q: the target is coap://, http:// or https://, not %q", r.pattern, u.Scheme)
	}
	if u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return fmt.Errorf("route %q: the target is SCHEME://HOST[:PORT][/PATH] and nothing else", r.pattern)
	}
	if strings.HasSuffix(u.Host, ":") {
		return fmt.Errorf("route %q: the target's port is empty", r.pattern)
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("route %q: a port is a number from 1 to 65535", r.pattern)
		}
	}
	r.scheme, r.host = u.Scheme, strings.ToLower(u.Host)
	r.base = splitPath(strings.TrimSuffix(u.EscapedPath(), "/"))
	for _, s := range r.base {
		if s == "" {
			return fmt.Errorf("route %q: the target's path has an empty segment", r.pattern)
		}
		if err := checkSegment(s); err != nil {
			return fmt.Errorf("route %q: target: %w", r.pattern, err)
		}
	}
	return nil
}

// Pattern returns the pattern that ParseRoute read.
func (r *Route) Pattern() string { return r.pattern }

// String returns pattern and target.
func (r *Route) String() string { return r.pattern + " -> " + r.url(nil, nil) }

// Matches reports whether the route takes a path, given as raw segments.
func (r *Route) Matches(path []string) bool {
	_, ok := r.rest(path)
	return ok
}

// rest returns what follows the prefix of a matching path.
func (r *Route) rest(path []string) ([]string, bool) {
	n := len(r.prefix)
	if len(path) < n || !slices.Equal(path[:n], r.prefix) || !r.tree && len(path) > n {
		return nil, false
	}
	return path[n:], true
}

// Resolve returns the URL that a request for path and query leads to, given as
// the raw values of Uri-Path and Uri-Query. It is a pure function. Its errors
// match latchkey.ErrNotFound when the route does not take the path, and
// latchkey.ErrProtocol when a value is refused.
func (r *Route) Resolve(path, query []string) (string, error) {
	rest, ok := r.rest(path)
	if !ok {
		return "", fmt.Errorf("%w: the path is not on route %s", latchkey.ErrNotFound, r.pattern)
	}
	for i, s := range rest {
		if s == "" && i < len(rest)-1 {
			return "", fmt.Errorf("%w: empty path segment", latchkey.ErrProtocol)
		}
		if err := checkSegment(s); err != nil {
			return "", err
		}
	}
	for _, q := range query {
		if err := checkText(q); err != nil {
			return "", err
		}
	}
	return r.url(rest, query), nil
}

// url puts the URL together as RFC 7252 section 6.5 does.
func (r *Route) url(rest, query []string) string {
	var b strings.Builder
	b.WriteString((&url.URL{Scheme: r.scheme, Host: r.host}).String())
	if len(r.base)+len(rest) == 0 {
		b.WriteByte('/')
	}
	for _, s := range slices.Concat(r.base, rest) {
		b.WriteByte('/')
		escape(&b, s, pathLiteral)
	}
	for i, q := range query {
		b.WriteByte("?&"[min(i, 1)])
		escape(&b, q, queryLiteral)
	}
	return b.String()
}

// A Table is an immutable set of routes.
type Table struct{ routes []*Route }

// NewTable returns a table of routes. Two routes with one pattern are an error.
func NewTable(routes ...*Route) (*Table, error) {
	sorted := slices.Clone(routes)
	slices.SortStableFunc(sorted, func(a, b *Route) int {
		if n := len(b.prefix) - len(a.prefix); n != 0 || a.tree == b.tree {
			return n
		}
		if a.tree {
			return 1
		}
		return -1
	})
	seen := map[string]bool{}
	for _, r := range sorted {
		if seen[r.pattern] {
			return nil, fmt.Errorf("route %q stands there twice", r.pattern)
		}
		seen[r.pattern] = true
	}
	return &Table{sorted}, nil
}

// Match returns the most specific route that takes path, nil when none does: a
// longer pattern before a shorter one, an exact path before "**".
func (t *Table) Match(path []string) *Route {
	for _, r := range t.routes {
		if r.Matches(path) {
			return r
		}
	}
	return nil
}
