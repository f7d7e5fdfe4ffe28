package forward

import (
	"errors"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
)

func mustRoute(t testing.TB, pattern, to string) *Route {
	t.Helper()
	r, err := ParseRoute(pattern, to)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func segments(p string) []string {
	if p == "" {
		return nil
	}
	return strings.Split(strings.TrimPrefix(p, "/"), "/")
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		pattern, to string
		path, query []string
		want        string
	}{
		{"/t/**", "coap://127.0.0.1:5683", []string{"t", "temp"}, nil, "coap://127.0.0.1:5683/temp"},
		{"/t/**", "coap://127.0.0.1:5683/", []string{"t"}, nil, "coap://127.0.0.1:5683/"},
		{"/t/**", "coap://127.0.0.1", []string{"t", "a", "b"}, []string{"u=C"}, "coap://127.0.0.1/a/b?u=C"},
		{"/t/**", "http://h:8080/api/", []string{"t", "a"}, nil, "http://h:8080/api/a"},
		{"/t/**", "http://h:8080/api", []string{"t"}, nil, "http://h:8080/api"},
		{"/t/**", "http://h:8080/api", []string{"t", ""}, nil, "http://h:8080/api/"},
		{"/t/**", "https://HOST.example/a%20b", []string{"t", "c d"}, nil, "https://host.example/a%20b/c%20d"},
		{"/t", "coap://[::1]:1/x/y", []string{"t"}, nil, "coap://[::1]:1/x/y"},
		{"/t", "coap://[fe80::1%25eth0]/x", []string{"t"}, nil, "coap://[fe80::1%25eth0]/x"},
		{"/", "coap://h/x", nil, nil, "coap://h/x"},
		{"/**", "coap://h", []string{"a", ""}, nil, "coap://h/a/"},
		{"/**", "coap://h", []string{"ä", "a%b", "x?y#z&w", "1;v=2", "a:b@c", "..."}, nil, "coap://h/%C3%A4/a%25b/x%3Fy%23z&w/1;v=2/a:b@c/..."},
		{"/**", "coap://h", nil, []string{"a&b", "c+d;e", "f/g?h", "", "%"}, "coap://h/?a%26b&c%2Bd%3Be&f/g?h&&%25"},
		{"/**", "coap://h", nil, []string{""}, "coap://h/?"},
	} {
		r := mustRoute(t, c.pattern, c.to)
		got, err := r.Resolve(c.path, c.query)
		if err != nil || got != c.want {
			t.Errorf("%s %q %q: %q, %v; want %q", r, c.path, c.query, got, err, c.want)
			continue
		}
		back, err := r.parse(got)
		if err != nil {
			t.Errorf("%s does not parse back: %v", got, err)
			continue
		}
		rest, _ := r.rest(c.path)
		if below, ok := back.below(back.path); !ok || !slices.Equal(below, rest) || !slices.Equal(back.query, c.query) {
			t.Errorf("%s parses back to %q %q", got, back.path, back.query)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	tree := mustRoute(t, "/t/**", "http://h/base")
	for _, s := range []string{
		"..", ".", "a/b", "/", `a\b`, "a\r", "a\n", "a\x00", "a\x7f", "\xff", "\xc0\xae", "..;", ".;x=1",
		"%2e%2e", "%2E.", "a%2fb", "a%5cb", "a%0d", "a%00", "%252e%252e", "%25252e.", "%zz%2f", "..%3b",
	} {
		for _, p := range [][]string{{"t", s}, {"t", "ok", s, "ok"}} {
			if got, err := tree.Resolve(p, nil); !errors.Is(err, latchkey.ErrProtocol) {
				t.Errorf("path %q: %q, %v", p, got, err)
			}
		}
	}
	for _, q := range []string{"a\r\nX: y", "\x00", "\xff", "a\tb"} {
		if got, err := tree.Resolve([]string{"t"}, []string{"ok", q}); !errors.Is(err, latchkey.ErrProtocol) {
			t.Errorf("query %q: %q, %v", q, got, err)
		}
	}
	if got, err := tree.Resolve([]string{"t", "", "a"}, nil); !errors.Is(err, latchkey.ErrProtocol) {
		t.Errorf("empty segment: %q, %v", got, err)
	}
	for _, p := range [][]string{nil, {"T"}, {"u"}, {"tt"}, {""}, {"", "t"}} {
		if got, err := tree.Resolve(p, nil); !errors.Is(err, latchkey.ErrNotFound) {
			t.Errorf("path %q: %q, %v", p, got, err)
		}
	}
	if got, err := mustRoute(t, "/t", "http://h").Resolve([]string{"t", "a"}, nil); !errors.Is(err, latchkey.ErrNotFound) {
		t.Errorf("below an exact route: %q, %v", got, err)
	}
}

func TestParseRouteRefuses(t *testing.T) {
	for _, c := range []struct{ pattern, to, says string }{
		{"t", "coap://h", "does not begin with /"},
		{"", "coap://h", "does not begin with /"},
		{"/a//b", "coap://h", "segment"},
		{"/a/", "coap://h", "segment"},
		{"/a/*", "coap://h", "** stands alone"},
		{"/**/a", "coap://h", "** stands alone"},
		{"/a**", "coap://h", "** stands alone"},
		{"/a/../b", "coap://h", "dots"},
		{"/a", "coaps://h", "not \"coaps\""},
		{"/a", "file:///etc/passwd", "not \"file\""},
		{"/a", "h:80", "not \"h\""},
		{"/a", "http://", "SCHEME://"},
		{"/a", "http:///x", "SCHEME://"},
		{"/a", "http://user:pw@h/", "SCHEME://"},
		{"/a", "http://h/?q=1", "SCHEME://"},
		{"/a", "http://h/?", "SCHEME://"},
		{"/a", "http://h/#f", "SCHEME://"},
		{"/a", "http://h:0/", "port"},
		{"/a", "http://h:70000/", "port"},
		{"/a", "http://h:/", "port"},
		{"/a", "http://h:x/", "not a URL"},
		{"/a", "http://h/a//b", "empty segment"},
		{"/a", "http://h/a/../b", "dots"},
		{"/a", "http://h/%2e%2e/b", "dots"},
		{"/a", "http://h/a%2fb", "slash"},
		{"/a", "http://h/\n", "not a URL"},
	} {
		if _, err := ParseRoute(c.pattern, c.to); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q to %q: %v; want %q", c.pattern, c.to, err, c.says)
		}
	}
}

// A URL that Resolve of this very route did not write is not contacted.
func TestParseRefusesWhatResolveDoesNotWrite(t *testing.T) {
	r := mustRoute(t, "/t/**", "http://h:80/base")
	for _, judged := range []string{
		"", "http://h:80/", "http://h:80/other", "http://h:80/bases", "http://h/base/a", "https://h:80/base/a",
		"http://evil/base/a", "http://h:80@evil/base/a", "http://h:80/base/../x", "http://h:80/base/%2e%2e/x",
		"http://h:80/base/a#f", "http://h:80/base/%61", "http://h:80/base/a%2fb", "http://h:80/base/a?b+c",
		"HTTP://h:80/base/a", "http://H:80/base/a", "http://h:80//base/a", "//h:80/base/a",
	} {
		if got, err := r.parse(judged); !errors.Is(err, latchkey.ErrForbidden) {
			t.Errorf("%q: %+v, %v", judged, got, err)
		}
	}
}

func TestTable(t *testing.T) {
	var routes []*Route
	for _, p := range []string{"/**", "/a/**", "/a/b", "/a/b/**", "/a"} {
		routes = append(routes, mustRoute(t, p, "coap://h"))
	}
	table, err := NewTable(routes...)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{
		"": "/**", "/x": "/**", "/a": "/a", "/a/c": "/a/**", "/a/b": "/a/b", "/a/b/c": "/a/b/**", "/A": "/**",
	} {
		if got := table.Match(segments(p)); got == nil || got.Pattern() != want {
			t.Errorf("%q: %v, want %s", p, got, want)
		}
	}
	if _, err := NewTable(routes[0], mustRoute(t, "/**", "http://other")); err == nil {
		t.Error("one pattern twice was taken")
	}
	if table, err = NewTable(routes[2]); err != nil || table.Match(nil) != nil {
		t.Errorf("no route, but a match: %v", err)
	}
}

// Whatever a peer writes into its options, the URL leads to the route's host
// and below its path, and reads back as what was written.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{
		"a", "..", "a/b", "%2e%2e", "ä ö", "a\x00b", "?", "#", "a&b=c", "//evil", "@evil", ":80", "\\", "..;x", "", "\r\nHost: evil",
	} {
		f.Add(s, s, s)
		f.Add("ok", s, s)
	}
	routes := []*Route{
		mustRoute(f, "/t/**", "http://h:8080/base/x"), mustRoute(f, "/**", "coap://[::1]"), mustRoute(f, "/t/**", "https://h"),
	}
	f.Fuzz(func(t *testing.T, a, b, q string) {
		for _, r := range routes {
			p := append(slices.Clone(r.prefix), a, b)
			s, err := r.Resolve(p, []string{q, a})
			if err != nil {
				continue
			}
			if strings.ContainsAny(s, "\r\n\x00 \\") {
				t.Fatalf("%q has a character that no URL has", s)
			}
			u, err := url.Parse(s)
			if err != nil || u.Scheme != r.scheme || u.Host != r.host || u.User != nil || u.Fragment != "" {
				t.Fatalf("%q left the route: %+v, %v", s, u, err)
			}
			base := "/" + strings.Join(r.base, "/")
			for again := u.EscapedPath(); ; {
				if clean := path.Clean(again); clean != base && base != "/" && !strings.HasPrefix(clean, base+"/") {
					t.Fatalf("%q: %q is outside %q", s, clean, base)
				}
				next := unescape(again)
				if next == again {
					break
				}
				again = next
			}
			back, err := r.parse(s)
			if err != nil {
				t.Fatalf("%q does not parse back: %v", s, err)
			}
			if !slices.Equal(back.path, append(slices.Clone(r.base), a, b)) || !slices.Equal(back.query, []string{q, a}) {
				t.Fatalf("%q reads as %q %q", s, back.path, back.query)
			}
		}
	})
}
