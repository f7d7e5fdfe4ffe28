package acl

import (
	"fmt"
	"slices"
	"strings"
)

// A Failure is a test of a document that did not come out as it demands, or
// could not be run.
type Failure struct {
	File     string   `json:"file"`
	Line     int      `json:"line"`   // from 1; 0 for a document without a text
	Column   int      `json:"column"` // from 1
	Case     Case     `json:"test"`
	Problem  string   `json:"problem"`  // in words
	Decision Decision `json:"decision"` // with its trace; none if the test could not be run
}

// Error returns file:line:column:, the test's name and the problem.
func (f Failure) Error() string {
	var b strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&b, "%s:%d:%d: ", f.File, f.Line, f.Column)
	}
	b.WriteString("test ")
	if f.Case.Name != "" {
		fmt.Fprintf(&b, "%q ", f.Case.Name)
	}
	return b.String() + f.Problem
}

// Check runs the document's tests as if its policies and roles were put into a
// store that has base, and returns those that fail.
func (d *Document) Check(base Rules) []Failure {
	st := base.with(d).state()
	var out []Failure
	for _, c := range d.Cases {
		decision, err := st.run(c)
		var problem string
		switch {
		case err != nil:
			problem = "cannot be run: " + strings.TrimPrefix(err.Error(), "acl: ")
		case !c.Expect.met(decision.Effect):
			problem = fmt.Sprintf("expects %q, and the decision is %q: %s", string(c.Expect), decision.Effect, decision.Reason)
		default:
			continue
		}
		f := Failure{Case: c, Problem: problem, Decision: decision}
		if d.source != nil {
			f.File = d.source.file
			f.Line, f.Column = d.source.position(c.offset)
		}
		out = append(out, f)
	}
	return out
}

// run decides the request of a case by the rules of st.
func (st *state) run(c Case) (Decision, error) {
	r := c.Request
	role, own := c.Role, c.Policies
	if c.User != "" {
		u := st.users[c.User]
		if u == nil {
			return Decision{}, mistake("there is no user %q", c.User)
		}
		role, own = u.Role, u.Policies
		r.Role = role
	}
	var policies []*Policy
	if role != "" {
		if st.roles[role] == nil {
			return Decision{}, mistake("there is no role %q", role)
		}
		var err error
		if policies, err = st.flatten(role, nil); err != nil {
			return Decision{}, err
		}
	}
	for _, name := range own {
		p := st.policies[name]
		if p == nil {
			return Decision{}, mistake("there is no policy %q", name)
		}
		policies = append(slices.Clip(policies), p)
	}
	decision := Evaluate(&r, policies...)
	decision.Subject = Subject{User: r.User, Role: r.Role}
	if decision.Effect == Allow && role == RoleUnpaired && !(Subject{Role: role}).may(r.Action) {
		decision = Decision{Effect: NoMatch, Reason: strangersOnly, Subject: decision.Subject, Trace: decision.Trace}
	}
	return decision, nil
}
