package roster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// What becomes of a policy or role of a document.
const (
	Added     = "added"
	Changed   = "changed"
	Unchanged = "unchanged"
)

// An Applied is what became, or would become, of one policy or role of a document.
type Applied struct {
	Kind   string `json:"kind"` // "policy" or "role"
	Name   string `json:"name"`
	Change string `json:"change"` // Added, Changed or Unchanged
}

// A TestError says which tests of a document fail with the rules that the store
// has.
type TestError struct{ Failures []acl.Failure }

// Error counts them.
func (e *TestError) Error() string {
	if len(e.Failures) == 1 {
		return "1 test failed"
	}
	return fmt.Sprintf("%d tests failed", len(e.Failures))
}

// Unwrap makes it a refusal.
func (e *TestError) Unwrap() error { return latchkey.ErrConflict }

// errDry takes back what a trial has changed.
var errDry = errors.New("roster: only tried")

// Apply puts the policies and roles of a document in the place of those of the same
// names, all in one change; others stay. Its tests run before that, on the rules
// that the store has then. If any fails the error is a *TestError, and nothing is
// changed; likewise, unless the terms force it, if what comes of it most likely opens a
// door by mistake, which is a *LintError. A trial stops there, and tells what would
// become of everything. The version of the terms is that of the only policy; a
// document of anything else has none.
func (r *Roster) Apply(a Actor, d *acl.Document, t Terms, trial bool) (list []Applied, err error) {
	err = r.commit(a, t, func(tx *acl.Tx) error {
		base := rulesOf(tx)
		if err := d.Resolve(base); err != nil {
			return err
		}
		if err := seen(tx, d, t.Version); err != nil {
			return err
		}
		if failed := d.Check(base); len(failed) > 0 {
			return &TestError{failed}
		}
		err := linted(tx, t, func() (err error) {
			list, err = put(tx, d)
			return err
		})
		if err != nil {
			return err
		}
		if trial {
			return errDry
		}
		return nil
	})
	if trial {
		if errors.Is(err, errDry) {
			err = nil
		}
		return list, err
	}
	r.recordApplied(a, d, list, err)
	return list, err
}

// seen refuses a document whose only policy is there at another version.
func seen(tx *acl.Tx, d *acl.Document, version string) error {
	if version == "" {
		return nil
	}
	if len(d.Policies) != 1 || len(d.Roles) > 0 {
		return fmt.Errorf("%w: only a document of one policy has a version", latchkey.ErrProtocol)
	}
	return unpassed(tx, d.Policies[0].Name(), version)
}

// put puts what is different into the store.
func put(tx *acl.Tx, d *acl.Document) (list []Applied, err error) {
	for _, p := range d.Policies {
		was, there := tx.Policy(p.Name())
		change := difference(there, there && samePolicy(was, p))
		if change != Unchanged {
			if err := tx.PutPolicy(p); err != nil {
				return nil, err
			}
		}
		list = append(list, Applied{"policy", p.Name(), change})
	}
	for _, role := range d.Roles {
		was, there := tx.Role(role.Name)
		change := difference(there, there && slices.Equal(was.Policies, role.Policies) && slices.Equal(was.Includes, role.Includes))
		if change != Unchanged {
			if err := tx.PutRole(role); err != nil {
				return nil, err
			}
		}
		list = append(list, Applied{"role", role.Name, change})
	}
	return list, nil
}

func difference(there, same bool) string {
	switch {
	case !there:
		return Added
	case same:
		return Unchanged
	}
	return Changed
}

func samePolicy(a, b *acl.Policy) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// recordApplied records each policy and role that was changed, or should have been.
func (r *Roster) recordApplied(a Actor, d *acl.Document, list []Applied, err error) {
	if err != nil {
		list = nil
		for _, p := range d.Policies {
			list = append(list, Applied{"policy", p.Name(), Changed})
		}
		for _, role := range d.Roles {
			list = append(list, Applied{"role", role.Name, Changed})
		}
	}
	for _, one := range list {
		e := deed{kind: acl.EventPolicy, action: acl.PolicyPut, object: one.Name, detail: one.Change + " by a document"}
		if one.Kind == "role" {
			e.kind, e.action = acl.EventRole, acl.RolePut
		}
		if one.Change != Unchanged {
			r.record(a, e, err)
		}
	}
}
