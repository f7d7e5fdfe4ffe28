package acl

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/latchkey-dev/latchkey"
)

// A Document is what a person writes to change the rules of a device: policies,
// roles, and tests of both. Nothing of it holds before it is put into a Store.
type Document struct {
	Policies []*Policy
	Roles    []Role
	Cases    []Case

	source *reader       // of ParseDocument
	places map[place]int // where in the text something stands
}

// A place is something in a document that a later error may be about: a role,
// what a role refers to, a policy, or a statement of it, counted from 1.
type place struct {
	role, kind, name string
	statement        int
}

// The kinds of a place; a role itself has none.
const (
	policyOfRole = "policy"
	roleOfRole   = "role"
	wholePolicy  = "whole policy"
)

// ParseDocument reads a document from JSON. It is one policy, with its tests:
//
//	{"name": "evenings", "statements": [
//	  {"effect": "allow", "actions": ["coap:*"], "resources": ["/light/**"]}
//	], "tests": [
//	  {"name": "lights", "expect": "allow", "request": {"action": "coap:put", "resource": "/light/1"}},
//	  {"name": "no lock", "expect": "refuse", "request": {"action": "coap:put", "resource": "/lock"}}
//	]}
//
// or several policies and roles:
//
//	{"policies": [
//	  {"name": "evenings", "statements": [
//	    {"effect": "allow", "actions": ["coap:*"], "resources": ["/light/**"],
//	     "conditions": [{"attribute": "time", "operator": "within", "values": ["18:00-23:00 UTC"]}]}
//	  ]}
//	],
//	"roles": [{"name": "kid", "policies": ["evenings"], "includes": ["guest"]}],
//	"tests": [
//	  {"name": "at night", "expect": "refuse", "role": "kid",
//	   "request": {"action": "coap:put", "resource": "/light/1", "time": "2026-11-22T23:00:00Z"}}
//	]}
//
// It is as strict as ParsePolicy and has the same errors: *PositionError, and
// latchkey.ErrTooLarge for text longer than MaxDocument. Names that stand there
// twice and roles that include themselves are errors too. Whether all that roles
// refer to is there depends on the store: see Resolve. file is only for messages.
func ParseDocument(file string, text []byte) (*Document, error) {
	if len(text) > MaxDocument {
		return nil, fmt.Errorf("%s: a document of %d bytes, %d are the most: %w",
			file, len(text), MaxDocument, latchkey.ErrTooLarge)
	}
	d := &Document{source: newReader(file, bytes.Clone(text)), places: make(map[place]int)}
	if err := d.parse(); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Document) parse() error {
	r := d.source
	start := r.start()
	fields := make(map[string]int) // where each began
	mark := func(name string, read func() error) func() error {
		return func() error {
			fields[name] = r.start()
			return read()
		}
	}
	var single policyFields
	err := r.object(map[string]func() error{
		"name?":       mark("name", func() error { return r.policyName(&single) }),
		"statements?": mark("statements", func() error { return r.policyStatements(&single) }),
		"policies?":   mark("policies", func() error { return r.array(MaxPolicies, d.parsePolicy) }),
		"roles?":      mark("roles", func() error { return r.array(MaxRoles, d.parseRole) }),
		"tests?":      mark("tests", func() error { return r.array(MaxCases, d.parseCase) }),
	})
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return err
	}
	_, named := fields["name"]
	_, stated := fields["statements"]
	if !named && !stated {
		return d.parsed(start, fields)
	}
	for _, other := range []string{"policies", "roles"} {
		if at, ok := fields[other]; ok {
			return r.at(at, mistake("%s stand in a document without name and statements", other))
		}
	}
	switch {
	case !named:
		return r.at(start, mistake(`field "name" is missing`))
	case !stated:
		return r.at(start, mistake(`field "statements" is missing`))
	}
	p, err := single.policy(r.zones)
	d.addPolicy(p, start)
	for i := range d.Cases {
		if d.Cases[i].nobody() {
			d.Cases[i].Policies = []string{single.name}
		}
	}
	return err
}

// parsed checks a document of several policies and roles as a whole.
func (d *Document) parsed(start int, fields map[string]int) error {
	if len(fields) == 0 {
		return d.source.at(start, mistake("a document has a policy's name and statements, or policies, roles and tests"))
	}
	for _, c := range d.Cases {
		if c.nobody() {
			return d.source.at(c.offset, mistake("a test is about policies, a role or a user"))
		}
	}
	return d.checkCycles(d.Roles)
}

func (d *Document) parsePolicy() error {
	start := d.source.start()
	p, err := d.source.policy()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(d.Policies, func(q *Policy) bool { return q.name == p.name }) {
		return d.source.at(start, mistake("policy %q stands here a second time", p.name))
	}
	d.addPolicy(p, start)
	return nil
}

// addPolicy adds the policy that was read last, and began at start.
func (d *Document) addPolicy(p *Policy, start int) {
	if p == nil {
		return
	}
	d.Policies = append(d.Policies, p)
	d.places[place{kind: wholePolicy, name: p.name}] = start
	for i, at := range d.source.statements {
		d.places[place{kind: wholePolicy, name: p.name, statement: i + 1}] = at
	}
}

func (d *Document) parseRole() error {
	r := d.source
	start := r.start()
	var role Role
	places := make(map[place]int)
	names := func(kind string, out *[]string) func() error {
		return func() error {
			return r.array(MaxAttached, func() error {
				at := r.start()
				name, err := r.text(func(s string) error { return checkName(kind, s) })
				if err != nil {
					return err
				}
				if slices.Contains(*out, name) {
					return r.at(at, mistake("%s %q stands here a second time", kind, name))
				}
				*out = append(*out, name)
				places[place{kind: kind, name: name}] = at
				return nil
			})
		}
	}
	role.Policies = []string{}
	err := r.object(map[string]func() error{
		"name": func() (err error) {
			role.Name, err = r.text(func(s string) error { return checkName("role", s) })
			return err
		},
		"policies?": names(policyOfRole, &role.Policies),
		"includes?": names(roleOfRole, &role.Includes),
	})
	if err != nil {
		return err
	}
	if _, twice := findRole(d.Roles, role.Name); twice {
		return r.at(start, mistake("role %q stands here a second time", role.Name))
	}
	d.Roles = append(d.Roles, role)
	d.places[place{role: role.Name}] = start
	for p, at := range places {
		p.role = role.Name
		d.places[p] = at
	}
	return nil
}

func findRole(roles []Role, name string) (Role, bool) {
	for _, r := range roles {
		if r.Name == name {
			return r, true
		}
	}
	return Role{}, false
}

// at puts the position of a place to an error, if the document has a text.
func (d *Document) at(p place, err error) error {
	if d.source == nil {
		return err
	}
	return d.source.at(d.places[p], err)
}
