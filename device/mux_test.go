package device

import (
	"fmt"
	"strings"
	"testing"
)

func TestMuxFindsMostSpecific(t *testing.T) {
	m := NewMux()
	for _, p := range []string{
		"GET /light", "GET /light/{id}", "GET /light/all", "PUT /light/{id}", "GET /files/{path...}",
		"GET /files/{dir}/index", "GET /a/{x}/c", "DELETE /{rest...}",
	} {
		m.HandleFunc(p, func(w ResponseWriter, r *Request) {
			fmt.Fprintf(w, "%s|%s", p, r.PathValue("id")+r.PathValue("path")+r.PathValue("dir")+r.PathValue("x")+r.PathValue("rest"))
		})
	}
	for _, c := range []struct {
		method     Method
		path, want string
	}{
		{GET, "/light", "GET /light|"},
		{GET, "/light/7", "GET /light/{id}|7"},
		{GET, "/light/all", "GET /light/all|"},
		{PUT, "/light/all", "PUT /light/{id}|all"},
		{GET, "/files/a/b/c", "GET /files/{path...}|a/b/c"},
		{GET, "/files", "GET /files/{path...}|"},
		{GET, "/files/a/index", "GET /files/{dir}/index|a"},
		{GET, "/a/b/c", "GET /a/{x}/c|b"},
		{DELETE, "/", "DELETE /{rest...}|"},
		{DELETE, "/x/y", "DELETE /{rest...}|x/y"},
		{GET, "/light/7/8", "4.05"},
		{GET, "/nothing", "4.05"},
		{POST, "/light", "4.05"},
	} {
		w := newResponse(c.method, 1000)
		m.ServeCoAP(w, &Request{Method: c.method, Path: c.path})
		got := string(w.body)
		if w.code.Class() != 2 {
			got = w.code.String()
		}
		if got != c.want {
			t.Errorf("%v %s: got %q, want %q", c.method, c.path, got, c.want)
		}
	}
}

func TestMuxUnknownPath(t *testing.T) {
	m := NewMux()
	m.HandleFunc("GET /a", func(ResponseWriter, *Request) {})
	w := newResponse(GET, 10)
	m.ServeCoAP(w, &Request{Method: GET, Path: "/b"})
	if w.code != NotFound {
		t.Errorf("got %v, want 4.04", w.code)
	}
}

func TestMuxPanics(t *testing.T) {
	for _, c := range []struct{ first, second string }{
		{"GET light", ""},
		{"/light", ""},
		{"LOOK /light", ""},
		{"GET /a/{}", ""},
		{"GET /a/{x...}/b", ""},
		{"GET /a//b", ""},
		{"GET /a/{x", ""},
		{"GET /a{b}", ""},
		{"GET /a", "GET /a"},
		{"GET /a/{x}", "GET /a/{y}"},
		{"GET /{x}/b", "GET /a/{y}"},
		{"GET /{x...}", "GET /{y...}"},
		{"GET /a/{x...}", "GET /{y}/b"},
	} {
		t.Run(c.first+" "+c.second, func(t *testing.T) {
			m := NewMux()
			defer func() {
				if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "pattern") {
					t.Errorf("recovered %v, want a panic that names the pattern", v)
				}
			}()
			m.HandleFunc(c.first, func(ResponseWriter, *Request) {})
			if c.second != "" {
				m.HandleFunc(c.second, func(ResponseWriter, *Request) {})
			}
		})
	}
}

func TestMuxNeighboursDoNotConflict(t *testing.T) {
	m := NewMux()
	for _, p := range []string{"GET /a/{x}", "GET /a/b", "PUT /a/{x}", "GET /a/{x}/c", "GET /b/{x...}", "GET /b/c"} {
		m.HandleFunc(p, func(ResponseWriter, *Request) {})
	}
}

func TestCleanPath(t *testing.T) {
	long := strings.Repeat("x", 255)
	for _, c := range []struct {
		in   []string
		want string
		ok   bool
	}{
		{nil, "/", true},
		{[]string{""}, "/", true},
		{[]string{"light", "1"}, "/light/1", true},
		{[]string{"light", ""}, "/light/", true},
		{[]string{"Ünï", "a b%2e"}, "/Ünï/a b%2e", true},
		{[]string{"..."}, "/...", true},
		{[]string{"", "light"}, "", false},
		{[]string{"a", "", "b"}, "", false},
		{[]string{".."}, "", false},
		{[]string{"a", "."}, "", false},
		{[]string{"a/b"}, "", false},
		{[]string{"a\r\nb"}, "", false},
		{[]string{"a\x00"}, "", false},
		{[]string{"a\u0085"}, "", false},
		{[]string{"\xff"}, "", false},
		{[]string{long, long, long, long}, "/" + strings.Join([]string{long, long, long, long}, "/"), true},
		{[]string{long, long, long, long, "x"}, "", false},
		{strings.Split(strings.Repeat("a/", 31)+"a", "/"), "/" + strings.Repeat("a/", 31) + "a", true},
		{strings.Split(strings.Repeat("a/", 32)+"a", "/"), "", false},
	} {
		got, err := cleanPath(c.in)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("cleanPath(%q) = %q, %v; want %q", c.in, got, err, c.want)
		}
	}
}
