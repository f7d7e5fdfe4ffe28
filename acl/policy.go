package acl

import (
	"encoding/json"
	"fmt"
	"slices"
)

// An Effect is a verdict. The zero Effect refuses.
type Effect uint8

// The effects, weakest first.
const (
	NoMatch Effect = iota // no statement spoke: refused
	Allow
	Deny // beats any Allow
)

// String returns "allow", "deny" or "no match".
func (e Effect) String() string {
	switch e {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	default:
		return "no match"
	}
}

// MarshalText implements encoding.TextMarshaler.
func (e Effect) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// parseEffect reads what a statement may have.
func parseEffect(s string) (Effect, error) {
	switch s {
	case "allow":
		return Allow, nil
	case "deny":
		return Deny, nil
	}
	return NoMatch, mistake(`unknown effect %q: "allow" or "deny"`, s)
}

// A Statement says what holds for some actions on some resources.
type Statement struct {
	Effect Effect `json:"effect"` // Allow or Deny
	// Actions are exact ("coap:get"), of one kind ("coap:*"), or all ("*").
	Actions []string `json:"actions"`
	// Resources are compared segment by segment: * is one segment, ** any
	// number of them or none, ${connection.user} the value of an attribute.
	Resources  []string    `json:"resources"`
	Conditions []Condition `json:"conditions,omitempty"` // all must hold
	// Mode is how the device behaves when this statement denies. An Allow has
	// none. Silent needs actions that all change something: post, put, delete,
	// patch and ipatch of CoAP and routes.
	Mode Mode `json:"mode,omitzero"`
}

// A Policy is a named, immutable list of statements, compiled for evaluation.
// The zero Policy refuses everything.
type Policy struct {
	name     string
	source   []Statement
	compiled []statement
}

// A statement is a compiled Statement.
type statement struct {
	effect     Effect
	mode       Mode
	actions    []actionPattern
	set        actionSet // the known actions that they match
	resources  []resourcePattern
	conditions []condition
}

// NewPolicy compiles statements. Its errors are *Mistake and name the statement.
func NewPolicy(name string, statements ...Statement) (*Policy, error) {
	return newPolicy(name, statements, new(zones))
}

func newPolicy(name string, statements []Statement, z *zones) (*Policy, error) {
	if err := checkName("policy", name); err != nil {
		return nil, err
	}
	if n := len(statements); n > MaxStatements {
		return nil, mistake("policy %q has %d statements; %d is the most", name, n, MaxStatements)
	}
	p := &Policy{name: name}
	for i, s := range statements {
		c, err := compileStatement(s, z)
		if err != nil {
			return nil, fmt.Errorf("policy %q, statement %d: %w", name, i+1, err)
		}
		p.source = append(p.source, s.clone())
		p.compiled = append(p.compiled, c)
	}
	return p, nil
}

// Name returns the policy's name.
func (p *Policy) Name() string { return p.name }

// Statements returns a copy of what the policy was made of.
func (p *Policy) Statements() []Statement {
	out := make([]Statement, len(p.source))
	for i, s := range p.source {
		out[i] = s.clone()
	}
	return out
}

// MarshalJSON writes what ParsePolicy reads.
func (p *Policy) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name       string      `json:"name"`
		Statements []Statement `json:"statements"`
	}{p.name, p.Statements()})
}

func (s Statement) clone() Statement {
	s.Actions = slices.Clone(s.Actions)
	s.Resources = slices.Clone(s.Resources)
	s.Conditions = slices.Clone(s.Conditions)
	for i := range s.Conditions {
		s.Conditions[i].Values = slices.Clone(s.Conditions[i].Values)
	}
	return s
}

func compileStatement(s Statement, z *zones) (statement, error) {
	out := statement{effect: s.Effect, mode: s.Mode}
	if s.Effect != Allow && s.Effect != Deny {
		return out, mistake("a statement allows or denies")
	}
	if err := checkList("actions", len(s.Actions)); err != nil {
		return out, err
	}
	if err := checkList("resources", len(s.Resources)); err != nil {
		return out, err
	}
	if n := len(s.Conditions); n > MaxConditions {
		return out, mistake("%d conditions; %d is the most", n, MaxConditions)
	}
	for _, text := range s.Actions {
		a, err := compileAction(text)
		if err != nil {
			return out, err
		}
		out.actions = append(out.actions, a)
		out.set |= a.set()
	}
	if err := checkMode(s); err != nil {
		return out, err
	}
	for _, text := range s.Resources {
		r, err := compileResource(text)
		if err != nil {
			return out, err
		}
		out.resources = append(out.resources, *r)
	}
	for _, condition := range s.Conditions {
		c, err := compileCondition(condition, z)
		if err != nil {
			return out, err
		}
		out.conditions = append(out.conditions, c)
	}
	return out, nil
}

// checkList demands at least one entry: a statement without actions or
// resources would be a rule that looks as if it did something.
func checkList(what string, n int) error {
	if n == 0 || n > MaxList {
		return mistake("a statement has 1 to %d %s, not %d", MaxList, what, n)
	}
	return nil
}
