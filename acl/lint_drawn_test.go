package acl

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawDocument draws policies of things that meet, and roles that have some.
func drawDocument(t *rapid.T) *Document {
	d := &Document{}
	for i := range rapid.IntRange(1, 3).Draw(t, "policies") {
		var statements []Statement
		for range rapid.IntRange(1, 5).Draw(t, "statements") {
			statements = append(statements, drawNear(t, statements))
		}
		p, err := newPolicy("p"+itoa(i), statements, &zones{lenient: true})
		if err != nil {
			t.Fatal(err)
		}
		d.Policies = append(d.Policies, p)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "roles") {
		r := Role{Name: pick(t, []string{"r" + itoa(i), RoleGuest, RoleUnpaired, RoleUser}, "role")}
		if _, twice := findRole(d.Roles, r.Name); twice {
			continue
		}
		for _, p := range d.Policies {
			if rapid.Bool().Draw(t, "has") {
				r.Policies = append(r.Policies, p.name)
			}
		}
		d.Roles = append(d.Roles, r)
	}
	return d
}

// drawNear draws a statement that is like one before it, or like none.
func drawNear(t *rapid.T, before []Statement) Statement {
	s := drawStatement(t)
	if len(before) == 0 || rapid.Bool().Draw(t, "new") {
		return s
	}
	near := pick(t, before, "near").clone()
	switch pick(t, []string{"effect", "more", "fewer", "resources", "actions"}, "change") {
	case "effect":
		near.Effect, near.Mode = Allow+Deny-near.Effect, Respond
	case "more":
		near.Conditions = append(near.Conditions, drawCondition(t))
	case "fewer":
		near.Conditions = near.Conditions[:len(near.Conditions)/2]
	case "resources":
		near.Resources = s.Resources
	case "actions":
		if near.Mode == Silent {
			near.Mode = Respond
		}
		near.Actions = s.Actions
	}
	return near
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s\n%+v", f.summary(), f.Text, f.Example) }

// Whatever is found, the model decides its example alike, and what is said of all
// requests is true of those that are drawn.
func TestLintEqualsModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := drawDocument(rt)
		rules := DefaultRules()
		if rapid.Bool().Draw(rt, "users") {
			rules.Users = []User{{Name: "alice", Role: RoleGuest, Policies: []string{"p0"}}}
		}
		around := Surroundings{Rules: rules}
		found := Lint(d, around)
		for _, f := range found {
			checkFinding(t, d, around, f)
		}
		for range 20 {
			r := drawRequest(rt)
			for _, f := range found {
				checkClaim1(rt, d, f, r)
			}
		}
		if t.Failed() {
			rt.Fatalf("a finding of %+v is wrong", d)
		}
	})
}

// TestDrawnDocumentsAreWide: the test above judges what it is about. The documents
// are the same in each run.
func TestDrawnDocumentsAreWide(t *testing.T) {
	wanted := []string{"unreachable", "redundant", "allow-denied", "deny-never-fires", "allow-never-fires"}
	documents := rapid.Custom(drawDocument)
	seen := make(map[string]int)
	for seed := range 400 {
		for _, f := range Lint(documents.Example(seed), Surroundings{Rules: DefaultRules()}) {
			seen[f.Code]++
		}
	}
	for _, code := range wanted {
		if seen[code] == 0 {
			t.Errorf("%q was never found: the generator is too narrow; %v", code, seen)
		}
	}
}

// checkClaim1 holds what a finding says against one more request.
func checkClaim1(t *rapid.T, d *Document, f Finding, r *Request) {
	if f.Policy == "" || f.Statement == 0 {
		return
	}
	p := findPolicy(d.Policies, f.Policy)
	s := p.Statements()[f.Statement-1]
	switch f.Code {
	case "unreachable", "redundant":
		rest := slices.Delete(p.Statements(), f.Statement-1, f.Statement)
		without, err := newPolicy(p.name, rest, &zones{lenient: true})
		if err != nil {
			t.Fatal(err)
		}
		with, less := modelJudge(r, []*Policy{p}), modelJudge(r, []*Policy{without})
		if with.effect != less.effect || with.mode != less.mode {
			t.Fatalf("%s\n%+v\nis decided with it %+v, and without %+v", f, r, with, less)
		}
	case "allow-denied":
		if strings.Contains(f.Text, "statement") && modelMatches(r, s, false) && modelJudge(r, []*Policy{p}).effect != Deny {
			t.Fatalf("%s\n%+v\nis allowed", f, r)
		}
	case "allow-never-fires", "deny-never-fires":
		if strings.Contains(f.Text, "hold together") && modelMatches(r, s, false) {
			t.Fatalf("%s\n%+v\nmatches", f, r)
		}
	}
}

// Documents that are large in any way are linted in bounded time, and Lint says so.
func TestLintIsBounded(t *testing.T) {
	all := Surroundings{Rules: DefaultRules()}
	for name, large := range map[string]func(n, i int) Statement{
		"stars": func(n, i int) (s Statement) {
			for j := range 12 {
				s.Resources = append(s.Resources, strings.Repeat("/**/"+itoa(i), 6)+"/"+itoa(j))
			}
			return s
		},
		"sources": func(n, i int) (s Statement) {
			s.Resources = []string{"/**"}
			for j := range MaxConditions {
				s.Conditions = append(s.Conditions, Condition{"connection.source", In, []string{"10.0.0.0/8", fmt.Sprintf("10.%d.%d.0/24", i%200, j)}})
			}
			return s
		},
		"times": func(n, i int) (s Statement) {
			s.Resources = []string{"/**"}
			for j := range MaxConditions {
				s.Conditions = append(s.Conditions, Condition{"time", Within, []string{fmt.Sprintf("%02d:%02d-23:00 UTC", j, i%60), "20:00-21:00 +01:00"}})
			}
			return s
		},
		"users": func(n, i int) (s Statement) {
			s.Resources = []string{"/x/${connection.user}/" + itoa(i), "/**"}
			for j := range MaxConditions {
				s.Conditions = append(s.Conditions, Condition{"connection.user", Equals, []string{"a", "b", itoa(i), itoa(j)}})
			}
			return s
		},
		"nothing fits": func(n, i int) (s Statement) {
			for j := range 32 {
				s.Resources = append(s.Resources, "/"+itoa(j)+"/${claim.a}/"+itoa(i))
			}
			s.Conditions = []Condition{{"claim.a", Equals, []string{"a/b"}}}
			return s
		},
		"denies": func(n, i int) (s Statement) {
			s = Statement{Effect: Allow + Effect(i%2), Resources: []string{"/a/*/" + itoa(i%7), "/b/" + itoa(i) + "/**"}}
			return s
		},
	} {
		d := &Document{}
		role := Role{Name: "all"}
		for n := range 8 {
			var statements []Statement
			for i := range MaxStatements {
				s := large(n, i)
				s.Actions = []string{"*"}
				if s.Effect == NoMatch {
					s.Effect = Allow
				}
				statements = append(statements, s)
			}
			p, err := NewPolicy("p"+itoa(n), statements...)
			if err != nil {
				t.Fatal(err)
			}
			d.Policies = append(d.Policies, p)
			role.Policies = append(role.Policies, p.name)
		}
		d.Roles = []Role{role}
		began := time.Now()
		found := Lint(d, all)
		t.Logf("%s: %d findings in %s", name, len(found), time.Since(began))
		if len(found) == 0 || found[len(found)-1].Code != "too-large" {
			t.Errorf("%s: %d findings, and none that the work was bounded", name, len(found))
		}
	}
}

// Statements of one policy that do not touch each other are all compared.
func TestLintComparesWholePolicy(t *testing.T) {
	var statements []Statement
	for i := range MaxStatements {
		statements = append(statements, Statement{Effect: Allow, Actions: []string{"coap:get"}, Resources: []string{"/a/" + itoa(i)}})
	}
	statements[MaxStatements-1] = statements[0]
	p, err := NewPolicy("p", statements...)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	found := Lint(&Document{Policies: []*Policy{p}}, Surroundings{Rules: DefaultRules()})
	t.Logf("%d findings in %s", len(found), time.Since(began))
	if len(found) != 1 || found[0].Code != "unreachable" || found[0].Statement != MaxStatements {
		t.Errorf("%v", found)
	}
}
