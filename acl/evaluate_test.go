package acl

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// fifty is a policy of 50 statements, of the kinds that people write. The last
// of them allows, so that all are asked.
func fifty(t testing.TB) *Policy {
	var s []Statement
	for i := range 48 {
		s = append(s, Statement{
			Effect: Effect(1 + i%2), Actions: []string{"coap:get", "coap:put"},
			Resources: []string{fmt.Sprintf("/room/%d/**", i), fmt.Sprintf("/home/${connection.user}/%d", i)},
		})
	}
	s = append(s, Statement{Effect: Deny, Actions: []string{"coap:*"}, Resources: []string{"**"}, Conditions: []Condition{
		{Attribute: "connection.path", Operator: NotEquals, Values: []string{"local", "direct"}},
	}})
	s = append(s, Statement{Effect: Allow, Actions: []string{"coap:*"}, Resources: []string{"/light/*/state"}})
	p, err := NewPolicy("fifty", s...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// BenchmarkDecide decides by 50 statements: what the common case costs, and what
// the parts of the language cost when each statement has them.
func BenchmarkDecide(b *testing.B) {
	r := &Request{
		User: "alice", Action: CoAPGet, Resource: "/light/7/state", Path: PathLocal, Source: netip.MustParseAddr("192.0.2.1"),
		Time: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), KeyAdded: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Claims: map[string]any{"groups": []any{"kids", "guests", "staff"}},
	}
	run := func(name string, p *Policy) {
		b.Run(name, func(b *testing.B) {
			policies := []*Policy{p}
			if d := Evaluate(r, policies...); d.Effect != Allow || d.Statement != 50 {
				b.Fatal(d)
			}
			b.ReportAllocs()
			for b.Loop() {
				if decide(r, policies, nil).effect != Allow {
					b.Fatal("refused")
				}
			}
		})
	}
	run("common", fifty(b))
	for _, c := range []Condition{
		{"connection.user", Equals, []string{"bob", "carol"}},
		{"connection.source", In, []string{"10.0.0.0/8", "192.168.0.0/16"}},
		{"time", Within, []string{"mon-fri 22:00-06:00 Europe/Berlin"}},
		{"key.age", Below, []string{"30d"}},
		{"claim.groups", Equals, []string{"admins", "owners"}},
	} {
		run(c.Attribute, fiftyWith(b, c))
	}
}

// fiftyWith is a policy of 49 statements that deny under a condition, and one
// that allows.
func fiftyWith(t testing.TB, c Condition) *Policy {
	s := make([]Statement, 50)
	for i := range s {
		s[i] = Statement{Effect: Deny, Actions: []string{"*"}, Resources: []string{"**"}, Conditions: []Condition{c}}
	}
	s[49] = Statement{Effect: Allow, Actions: []string{"*"}, Resources: []string{"**"}}
	p, err := NewPolicy("p", s...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDecideDoesNotAllocate(t *testing.T) {
	r := &Request{
		User: "alice", Action: CoAPGet, Resource: "/light/7/state", Path: PathLocal,
		Time: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Claims: map[string]any{"groups": []any{"kids"}},
	}
	for name, p := range map[string]*Policy{
		"common": fifty(t),
		"time":   fiftyWith(t, Condition{"time", Within, []string{"22:00-06:00 Europe/Berlin"}}),
		"claim":  fiftyWith(t, Condition{"claim.groups", Equals, []string{"${connection.user}"}}),
	} {
		policies := []*Policy{p}
		if n := testing.AllocsPerRun(100, func() { decide(r, policies, nil) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// An unknown action is compared with patterns, a known one by its bit; all known
// ones have one.
func TestActionBits(t *testing.T) {
	if len(known) > 64 {
		t.Fatalf("%d actions, and a set holds 64", len(known))
	}
	patterns := []string{"*"}
	for _, a := range known {
		what, _, _ := strings.Cut(string(a), ":")
		patterns = append(patterns, string(a), what+":*")
	}
	for _, text := range patterns {
		p, err := compileAction(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range known {
			if got, want := p.set()&bits[a] != 0, p.matches(a); got != want {
				t.Errorf("%s, %s: %t", text, a, got)
			}
		}
	}
	all := Statement{Effect: Allow, Actions: []string{"*"}, Resources: []string{"**"}}
	for pattern, want := range map[string]Effect{"*": Allow, "coap:*": NoMatch, "coap:get": NoMatch} {
		all.Actions = []string{pattern}
		p, err := NewPolicy("p", all)
		if err != nil {
			t.Fatal(err)
		}
		if got := decide(&Request{Action: "firmware:update"}, []*Policy{p}, nil).effect; got != want {
			t.Errorf("%s: %s", pattern, got)
		}
	}
}

func TestEvaluateTrace(t *testing.T) {
	p, err := NewPolicy("evenings",
		Statement{Effect: Deny, Actions: []string{"tunnel:open"}, Resources: []string{"**"}},
		Statement{Effect: Deny, Actions: []string{"coap:*"}, Resources: []string{"/lock/**"}},
		Statement{Effect: Allow, Actions: []string{"coap:get"}, Resources: []string{"/light/*"}, Conditions: []Condition{
			{Attribute: "connection.user", Operator: Equals, Values: []string{"alice"}},
			{Attribute: "connection.path", Operator: Equals, Values: []string{"local", "direct"}},
		}},
		Statement{Effect: Allow, Actions: []string{"*"}, Resources: []string{"/light/1"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	d := Evaluate(&Request{User: "alice", Action: CoAPGet, Resource: "/light/1", Path: PathRelay}, p)
	var lines []string
	for _, s := range d.Trace {
		lines = append(lines, fmt.Sprintf("%s %d %s %t: %s", s.Policy, s.Statement, s.Effect, s.Matched, s.Reason))
	}
	want := []string{
		"evenings 1 deny false: is about other actions",
		"evenings 2 deny false: is about other resources",
		"evenings 3 allow false: condition does not hold: connection.path equals local | direct",
		"evenings 4 allow true: matches",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if d.Effect != Allow || d.Policy != "evenings" || d.Statement != 4 || d.Reason != `allowed by policy "evenings", statement 4` {
		t.Errorf("decision %+v", d)
	}
}

// A trace asks every statement, also those behind the deny that decided.
func TestEvaluateTraceIsWhole(t *testing.T) {
	all := Statement{Effect: Deny, Actions: []string{"*"}, Resources: []string{"**"}}
	p, err := NewPolicy("p", all, all, all)
	if err != nil {
		t.Fatal(err)
	}
	d := Evaluate(&Request{Action: CoAPGet, Resource: "/"}, p, p)
	if len(d.Trace) != 6 || d.Statement != 1 || d.Effect != Deny {
		t.Errorf("%+v", d)
	}
}

func TestZeroValuesRefuse(t *testing.T) {
	var p Policy
	all, err := NewPolicy("all", Statement{Effect: Allow, Actions: []string{"*"}, Resources: []string{"**"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []Decision{
		Evaluate(&Request{Action: CoAPGet, Resource: "/"}),
		Evaluate(&Request{Action: CoAPGet, Resource: "/"}, &p),
		Evaluate(&Request{}, all),
		{},
	} {
		if d.Effect != NoMatch {
			t.Errorf("%+v", d)
		}
	}
}

func TestNewPolicyRefuses(t *testing.T) {
	good := func() Statement {
		return Statement{Effect: Allow, Actions: []string{"coap:get"}, Resources: []string{"/x"}}
	}
	many := make([]string, MaxList+1)
	for i := range many {
		many[i] = "/x"
	}
	for name, change := range map[string]func(*Statement){
		"no effect":             func(s *Statement) { s.Effect = NoMatch },
		"another effect":        func(s *Statement) { s.Effect = 3 },
		"no actions":            func(s *Statement) { s.Actions = nil },
		"no resources":          func(s *Statement) { s.Resources = nil },
		"too many resources":    func(s *Statement) { s.Resources = many },
		"unknown action":        func(s *Statement) { s.Actions = []string{"coap:GET"} },
		"action with a star":    func(s *Statement) { s.Actions = []string{"coap:g*"} },
		"action of two stars":   func(s *Statement) { s.Actions = []string{"**"} },
		"any kind, one how":     func(s *Statement) { s.Actions = []string{"*:get"} },
		"unknown kind":          func(s *Statement) { s.Actions = []string{"mqtt:*"} },
		"empty action":          func(s *Statement) { s.Actions = []string{""} },
		"empty resource":        func(s *Statement) { s.Resources = []string{""} },
		"star inside":           func(s *Statement) { s.Resources = []string{"/cam-*"} },
		"three stars":           func(s *Statement) { s.Resources = []string{"/***"} },
		"step up":               func(s *Statement) { s.Resources = []string{"/a/../b"} },
		"step in place":         func(s *Statement) { s.Resources = []string{"/./b"} },
		"empty segment":         func(s *Statement) { s.Resources = []string{"/a//b"} },
		"control character":     func(s *Statement) { s.Resources = []string{"/a\n"} },
		"invisible character":   func(s *Statement) { s.Resources = []string{"/a\u202e"} },
		"invalid UTF-8":         func(s *Statement) { s.Resources = []string{"/a\xff"} },
		"too long":              func(s *Statement) { s.Resources = []string{"/" + strings.Repeat("a", MaxText)} },
		"unknown variable":      func(s *Statement) { s.Resources = []string{"/${user}"} },
		"open variable":         func(s *Statement) { s.Resources = []string{"/${connection.user"} },
		"slash in a variable":   func(s *Statement) { s.Resources = []string{"/${connection/user}"} },
		"variable of no text":   func(s *Statement) { s.Resources = []string{"/${connection.source}"} },
		"unknown attribute":     func(s *Statement) { s.Conditions = []Condition{{"Connection.User", Equals, []string{"a"}}} },
		"unknown operator":      func(s *Statement) { s.Conditions = []Condition{{"connection.user", "is", []string{"a"}}} },
		"no operator":           func(s *Statement) { s.Conditions = []Condition{{"connection.user", "", []string{"a"}}} },
		"no values":             func(s *Statement) { s.Conditions = []Condition{{"connection.user", Equals, nil}} },
		"empty value":           func(s *Statement) { s.Conditions = []Condition{{"connection.user", Equals, []string{""}}} },
		"address for text":      func(s *Statement) { s.Conditions = []Condition{{"connection.user", In, []string{"10.0.0.0/8"}}} },
		"text for an address":   func(s *Statement) { s.Conditions = []Condition{{"connection.source", Equals, []string{"10.0.0.1"}}} },
		"no prefix":             func(s *Statement) { s.Conditions = []Condition{{"connection.source", In, []string{"10.0.0.1"}}} },
		"prefix with host bits": func(s *Statement) { s.Conditions = []Condition{{"connection.source", In, []string{"10.0.0.1/8"}}} },
		"prefix with variable":  func(s *Statement) { s.Conditions = []Condition{{"connection.source", In, []string{"${device.id}"}}} },
		"unknown path kind":     func(s *Statement) { s.Conditions = []Condition{{"connection.path", Equals, []string{"lan"}}} },
		"unknown service type":  func(s *Statement) { s.Conditions = []Condition{{"service.type", Equals, []string{"TCP"}}} },
		"value never text":      func(s *Statement) { s.Conditions = []Condition{{"connection.user", Equals, []string{"${x}"}}} },
		"time as text":          func(s *Statement) { s.Conditions = []Condition{{"time", Equals, []string{"12:00"}}} },
		"bad time":              func(s *Statement) { s.Conditions = []Condition{{"time", Within, []string{"12:00"}}} },
		"unknown zone":          func(s *Statement) { s.Conditions = []Condition{{"time", Within, []string{"12:00-13:00 Mars/Base"}}} },
		"text for a time": func(s *Statement) {
			s.Conditions = []Condition{{"connection.user", Within, []string{"12:00-13:00 UTC"}}}
		},
		"age as text":          func(s *Statement) { s.Conditions = []Condition{{"key.age", Equals, []string{"1d"}}} },
		"bad age":              func(s *Statement) { s.Conditions = []Condition{{"key.age", Below, []string{"1"}}} },
		"age of nothing":       func(s *Statement) { s.Conditions = []Condition{{"key.age", Below, []string{"0d"}}} },
		"two ages":             func(s *Statement) { s.Conditions = []Condition{{"key.age", Below, []string{"1d", "2d"}}} },
		"claim without a name": func(s *Statement) { s.Conditions = []Condition{{"claim.", Equals, []string{"a"}}} },
		"claim with a brace":   func(s *Statement) { s.Conditions = []Condition{{"claim.a}", Equals, []string{"a"}}} },
		"long name of a claim": func(s *Statement) {
			s.Conditions = []Condition{{"claim." + strings.Repeat("a", 65), Equals, []string{"a"}}}
		},
		"claim in a prefix":  func(s *Statement) { s.Conditions = []Condition{{"claim.a", In, []string{"10.0.0.0/8"}}} },
		"time as a variable": func(s *Statement) { s.Resources = []string{"/${time}"} },
		"mode of an allow":   func(s *Statement) { s.Mode = Disconnect },
		"unknown mode":       func(s *Statement) { s.Effect, s.Mode = Deny, 3 },
		"silent reading":     func(s *Statement) { s.Effect, s.Mode = Deny, Silent },
		"silent on a kind":   func(s *Statement) { s.Effect, s.Mode, s.Actions = Deny, Silent, []string{"route:*"} },
		"silent on tunnels":  func(s *Statement) { s.Effect, s.Mode, s.Actions = Deny, Silent, []string{"coap:put", "tunnel:open"} },
		"too many conditions": func(s *Statement) {
			s.Conditions = make([]Condition, MaxConditions+1)
		},
	} {
		s := good()
		change(&s)
		if _, err := NewPolicy("p", good(), s); err == nil {
			t.Errorf("%s: accepted", name)
		} else if !strings.Contains(err.Error(), "statement 2") {
			t.Errorf("%s: %v does not name the statement", name, err)
		}
	}
	for _, name := range []string{"", "P", "a/b", "a b", "-a", ".a", strings.Repeat("a", 64)} {
		if _, err := NewPolicy(name, good()); err == nil {
			t.Errorf("name %q: accepted", name)
		}
	}
	if _, err := NewPolicy("p", make([]Statement, MaxStatements+1)...); err == nil {
		t.Error("too many statements: accepted")
	}
}

// A policy shares nothing with what it was made of.
func TestPolicyIsImmutable(t *testing.T) {
	s := Statement{Effect: Allow, Actions: []string{"coap:get"}, Resources: []string{"/x"}, Conditions: []Condition{
		{"connection.user", Equals, []string{"alice"}},
	}}
	p, err := NewPolicy("p", s)
	if err != nil {
		t.Fatal(err)
	}
	before := text(t, p)
	s.Actions[0], s.Resources[0], s.Conditions[0].Values[0] = "*", "**", "bob"
	out := p.Statements()[0]
	out.Actions[0], out.Resources[0], out.Conditions[0].Values[0] = "*", "**", "bob"
	if after := text(t, p); after != before {
		t.Errorf("changed to %s", after)
	}
}
