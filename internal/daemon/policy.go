package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/roster"
)

// A Policy is one policy of the store and the roles that have it.
type Policy struct {
	Name    string          `json:"name"`
	Roles   []string        `json:"roles"`
	Version string          `json:"version"`
	Text    json.RawMessage `json:"policy"` // as acl.ParsePolicy reads it
}

// A Rulebook is the text of a document and where it comes from.
type Rulebook struct {
	File  string `json:"file"` // for messages
	Text  string `json:"text"`
	Trial bool   `json:"trial,omitempty"` // change nothing, only tell what would change
	Terms
}

// A Checked is what a look at a document found.
type Checked struct {
	Policies   int      `json:"policies"`
	Statements int      `json:"statements"`
	Roles      int      `json:"roles"`
	Tests      int      `json:"tests"`
	Failures   []string `json:"failures"` // of tests: place, name and problem
	// Findings are what is valid and still most likely wrong; see acl.Lint.
	Findings []Finding `json:"findings"`
}

// A Finding is an acl.Finding on its way.
type Finding struct {
	Severity acl.Severity    `json:"severity"`
	Code     string          `json:"code"`
	Place    string          `json:"place,omitempty"` // FILE:LINE:COLUMN, or the name of a policy or role
	Text     string          `json:"text"`
	Fix      string          `json:"fix"`
	Example  json.RawMessage `json:"example,omitempty"` // a request that shows it, as a test of a document
	Becomes  string          `json:"becomes,omitempty"` // what is decided about Example
}

// Wrong reports whether something was found that should not be put in force.
func (c Checked) Wrong() bool {
	return len(c.Failures) > 0 || slices.ContainsFunc(c.Findings, func(f Finding) bool { return f.Severity == acl.SeverityError })
}

// An Applied is what became of a document.
type Applied struct {
	Changes  []roster.Applied `json:"changes"`
	Failures []string         `json:"failures"` // of tests; with any nothing was changed
}

// Differs reports whether anything was, or would be, changed.
func (a Applied) Differs() bool {
	return slices.ContainsFunc(a.Changes, func(one roster.Applied) bool { return one.Change != roster.Unchanged })
}

// Policies lists the policies of the store.
func (c *Control) Policies(ctx context.Context) ([]Policy, error) {
	return admin.Call[[]Policy](ctx, c.backend, opPolicyList, admin.None{})
}

// CheckPolicies looks at a document and runs its tests with the rules of the store.
func (c *Control) CheckPolicies(ctx context.Context, b Rulebook) (Checked, error) {
	return admin.Call[Checked](ctx, c.backend, opPolicyCheck, b)
}

// CheckInForce looks at the policies and roles of the store.
func (c *Control) CheckInForce(ctx context.Context) (Checked, error) {
	return admin.Call[Checked](ctx, c.backend, opPolicyInForce, admin.None{})
}

// ApplyPolicies puts the policies and roles of a document into the store, unless one
// of its tests fails. Version of its terms is for a document of one policy.
func (c *Control) ApplyPolicies(ctx context.Context, b Rulebook) (Applied, error) {
	return admin.Call[Applied](ctx, c.backend, opPolicyApply, b)
}

func (a *administrator) policies(context.Context, admin.None) ([]Policy, error) {
	names, err := a.reader().Policies("")
	if err != nil {
		return nil, err
	}
	list := []Policy{}
	for _, listed := range names {
		p, err := a.reader().Policy(listed.Name)
		if err != nil {
			continue // removed since
		}
		text, err := json.Marshal(p.Policy)
		if err != nil {
			return nil, err
		}
		list = append(list, Policy{p.Name, p.Roles, p.Version, text})
	}
	return list, nil
}

func (a *administrator) checkPolicies(_ context.Context, in Rulebook) (Checked, error) {
	around, err := a.surroundings()
	if err != nil {
		return Checked{}, err
	}
	return CheckDocument(in, around)
}

func (a *administrator) checkInForce(context.Context, admin.None) (out Checked, err error) {
	around, err := a.surroundings()
	if err != nil {
		return out, err
	}
	out = checked(&acl.Document{Policies: around.Policies, Roles: around.Roles})
	err = out.add(roster.InForce(around))
	return out, err
}

// surroundings are what documents are held against.
func (a *administrator) surroundings() (acl.Surroundings, error) {
	rules, err := a.access.Rules()
	if err != nil {
		return acl.Surroundings{}, err
	}
	around := acl.Surroundings{Rules: rules, Services: []string{}, Issuers: []string{}}
	for _, s := range a.config().Services {
		around.Services = append(around.Services, s.ID)
	}
	for _, is := range a.config().Tokens {
		around.Issuers = append(around.Issuers, is.Issuer)
	}
	return around, nil
}

// CheckDocument looks at a document, and runs its tests with what is around it.
func CheckDocument(b Rulebook, around acl.Surroundings) (out Checked, err error) {
	d, err := acl.ParseDocument(b.File, []byte(b.Text))
	if err != nil {
		return out, err
	}
	if err := d.Resolve(around.Rules); err != nil {
		return out, err
	}
	out = checked(d)
	out.Failures = texts(d.Check(around.Rules))
	err = out.add(acl.Lint(d, around))
	return out, err
}

// checked counts what there is to be looked at.
func checked(d *acl.Document) Checked {
	out := Checked{Policies: len(d.Policies), Roles: len(d.Roles), Tests: len(d.Cases), Failures: []string{}, Findings: []Finding{}}
	for _, p := range d.Policies {
		out.Statements += len(p.Statements())
	}
	return out
}

func (c *Checked) add(found []acl.Finding) error {
	for _, f := range found {
		one, err := finding(f)
		if err != nil {
			return err
		}
		c.Findings = append(c.Findings, one)
	}
	return nil
}

func finding(f acl.Finding) (out Finding, err error) {
	out = Finding{Severity: f.Severity, Code: f.Code, Text: f.Text, Fix: f.Fix}
	if out.Place = roster.Place(f); f.Line > 0 {
		out.Place = fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
	}
	if f.Example != nil {
		out.Becomes = f.Example.Decision.Reason
		out.Example, err = json.Marshal(f.Example.Test)
	}
	return out, err
}

// texts puts failures of tests into words.
func texts(failed []acl.Failure) []string {
	list := []string{}
	for _, f := range failed {
		list = append(list, f.Error())
	}
	return list
}

func (a *administrator) applyPolicies(_ context.Context, in Rulebook) (Applied, error) {
	d, err := acl.ParseDocument(in.File, []byte(in.Text))
	if err != nil {
		return Applied{}, err
	}
	var failed *roster.TestError
	list, err := change(a, help{terms: in.Terms}, func(r *roster.Roster) ([]roster.Applied, error) {
		list, err := r.Apply(console, d, in.roster(), in.Trial)
		if errors.As(err, &failed) {
			return nil, nil // that is an answer
		}
		return list, err
	})
	if failed != nil {
		return Applied{[]roster.Applied{}, texts(failed.Failures)}, nil
	}
	if err == nil && !in.Trial {
		a.log.Info("policies applied", "file", in.File, "count", len(list))
	}
	return Applied{nonNil(list), []string{}}, err
}

// String says in words what was looked at.
func (c Checked) String() string {
	return fmt.Sprintf("%s, %s, %s, %s",
		counted(c.Policies, "policy", "policies"), counted(c.Statements, "statement", "statements"),
		counted(c.Roles, "role", "roles"), counted(c.Tests, "test", "tests"))
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
