package roster

import (
	"encoding/json"
	"fmt"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// A LintError says which errors acl.Lint finds in the rules that a change would
// leave, and not in those before it: most likely it opens a door by mistake.
type LintError struct{ Findings []acl.Finding } // at least one

// Error tells the first finding, with the request that shows it.
func (e *LintError) Error() string {
	f := e.Findings[0]
	text := Place(f) + ": " + f.Text
	if f.Example != nil {
		if example, err := json.Marshal(f.Example.Test); err == nil {
			text += ", such as " + string(example)
		}
	}
	if more := len(e.Findings) - 1; more > 0 {
		text += fmt.Sprintf("; and %d more like it", more)
	}
	return text
}

// Unwrap makes it a refusal.
func (e *LintError) Unwrap() error { return latchkey.ErrConflict }

// Place names what a finding is about where there is no text with lines.
func Place(f acl.Finding) string {
	switch {
	case f.Policy == "" && f.Role == "":
		return "the policies"
	case f.Policy == "":
		return fmt.Sprintf("role %q", f.Role)
	case f.Statement == 0:
		return fmt.Sprintf("policy %q", f.Policy)
	}
	return fmt.Sprintf("policy %q, statement %d", f.Policy, f.Statement)
}

// InForce looks at rules as acl.Lint looks at a document that is put into a store.
func InForce(around acl.Surroundings) []acl.Finding {
	return acl.Lint(&acl.Document{Policies: around.Policies, Roles: around.Roles}, around)
}

// linted makes a change of policies or roles, and refuses it with a *LintError
// unless the terms say that it is meant.
func linted(tx *acl.Tx, t Terms, change func() error) error {
	before := rulesOf(tx)
	if err := change(); err != nil || t.Force {
		return err
	}
	worse := wrong(rulesOf(tx))
	if len(worse) == 0 {
		return nil
	}
	// How many there were of a kind: the numbers of statements may have moved.
	were := make(map[acl.Finding]int)
	for _, f := range wrong(before) {
		were[kindOf(f)]++
	}
	var fresh []acl.Finding
	for _, f := range worse {
		if kind := kindOf(f); were[kind] > 0 {
			were[kind]--
		} else {
			fresh = append(fresh, f)
		}
	}
	if len(fresh) > 0 {
		return &LintError{fresh}
	}
	return nil
}

func rulesOf(tx *acl.Tx) acl.Rules {
	return acl.Rules{Policies: tx.Policies(), Roles: tx.Roles(), Users: tx.Users()}
}

// wrong are the findings for which a change is refused.
func wrong(rules acl.Rules) (list []acl.Finding) {
	for _, f := range InForce(acl.Surroundings{Rules: rules}) {
		if f.Severity == acl.SeverityError {
			list = append(list, f)
		}
	}
	return list
}

func kindOf(f acl.Finding) acl.Finding {
	return acl.Finding{Code: f.Code, Policy: f.Policy, Role: f.Role, Text: f.Text}
}
