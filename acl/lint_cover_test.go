package acl

import (
	"slices"
	"testing"
)

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		p, q          string
		known, unsure bool // what covers says of an allow, and of a deny
	}{
		{"/x/*", "/x/${connection.user}", true, false}, // a deny matches "/x/" too, for who has no name
		{"/x/**", "/x/${connection.user}", true, true},
		{"/x/${connection.user}", "/x/${connection.user}", true, true},
		{"/x/${connection.user}", "/x/${connection.role}", false, false},
		{"/x/${connection.user}", "/x/*", false, false},
		{"/**/b", "/a/**/b", true, true},
		{"/a/*", "/a/**", false, false},
		{"/a/*", "/a/", false, false},
		{"/**", "light", false, false},
		{"**", "http://h/*", true, true},
	} {
		p, q := mustPattern(c.p), mustPattern(c.q)
		if p.covers(q, false) != c.known || p.covers(q, true) != c.unsure {
			t.Errorf("%q covers %q: %t, with what is not known %t", c.p, c.q, p.covers(q, false), p.covers(q, true))
		}
	}
}

// Statements of which none may be called unreachable or redundant.
func TestLintKeeps(t *testing.T) {
	get := []string{"coap:get"}
	anyPath := []Condition{{"connection.path", Equals, []string{"local", "direct", "relay"}}}
	for name, statements := range map[string][]Statement{
		"a condition that always holds needs its fact": {
			{Effect: Allow, Actions: get, Resources: []string{"/a/**"}, Conditions: anyPath},
			{Effect: Allow, Actions: get, Resources: []string{"/a/b"}},
		},
		"a deny of another mode would be next": {
			{Effect: Deny, Actions: get, Resources: []string{"/a/b"}},
			{Effect: Deny, Actions: get, Resources: []string{"/a/*"}, Mode: Disconnect},
			{Effect: Deny, Actions: get, Resources: []string{"/a/**"}},
		},
	} {
		p, err := NewPolicy("p", statements...)
		if err != nil {
			t.Fatal(err)
		}
		found := Lint(&Document{Policies: []*Policy{p}}, Surroundings{Rules: DefaultRules()})
		if i := slices.IndexFunc(found, func(f Finding) bool { return f.Code == "unreachable" || f.Code == "redundant" }); i >= 0 {
			t.Errorf("%s: %s", name, found[i])
		}
	}
}
