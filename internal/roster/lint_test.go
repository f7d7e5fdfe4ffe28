package roster

import (
	"errors"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// TestOpenDoors: whatever most likely opens a door is refused, named with a request
// that shows it, unless it is forced or was open before.
func TestOpenDoors(t *testing.T) {
	strangers := acl.Role{Name: acl.RoleUnpaired, Policies: []string{acl.RoleAdmin}}
	for name, door := range map[string]struct {
		code string
		open func(d *desk, on Terms) error
	}{
		"role": {"strangers-everything", func(d *desk, on Terms) error { return second(d.PutRole(d.olga, strangers, on)) }},
		"by what it includes": {"strangers-everything", func(d *desk, on Terms) error {
			return second(d.PutRole(d.olga, acl.Role{Name: acl.RoleUnpaired, Includes: []string{acl.RoleAdmin}}, on))
		}},
		"policy": {"allows-everything", func(d *desk, on Terms) error {
			return second(d.PutPolicy(d.olga, d.policy(acl.RoleGuest, allow("*")), on))
		}},
		"document": {"strangers-everything", func(d *desk, on Terms) error {
			return second(d.Apply(d.olga, document(t, `{"roles": [{"name": "unpaired", "policies": ["admin"]}]}`), on, false))
		}},
	} {
		d := newDesk(t)
		before := d.state()
		err := door.open(d, Terms{})
		var opens *LintError
		if !errors.As(err, &opens) || !errors.Is(err, latchkey.ErrConflict) || opens.Findings[0].Code != door.code || d.state() != before {
			t.Fatalf("%s: %v", name, err)
		}
		if text := err.Error(); !strings.HasPrefix(text, `policy "`) || !strings.Contains(text, `everything`) || !strings.Contains(text, `such as {"expect":"allow"`) {
			t.Errorf("%s: %s", name, text)
		}
		if e := d.last(); e.Outcome != acl.OutcomeRefused {
			t.Errorf("%s: event %+v", name, e)
		}
		if err := door.open(d, Terms{Force: true}); err != nil || d.state() != before+1 {
			t.Errorf("%s: forced: %v", name, err)
		}
		if err := second(d.PutRole(d.olga, acl.Role{Name: "kid", Includes: []string{acl.RoleUser}}, Terms{})); err != nil && door.code == "strangers-everything" {
			t.Errorf("%s: something else, with the door open: %v", name, err)
		}
	}
}
