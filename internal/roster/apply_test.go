package roster

import (
	"errors"
	"slices"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

const evenings = `{"policies": [{"name": "evenings", "statements": [{"effect": "allow", "actions": ["coap:*"], "resources": ["/light/**"]}]}],
"roles": [{"name": "kid", "policies": ["evenings"], "includes": ["guest"]}],
"tests": [{"expect": "allow", "role": "kid", "request": {"action": "coap:put", "resource": "/light/1"}}]}`

func document(t *testing.T, text string) *acl.Document {
	t.Helper()
	d, err := acl.ParseDocument("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestApply: a document is one change, tried before it is made, and recorded for
// each policy and role that is different afterwards.
func TestApply(t *testing.T) {
	d := newDesk(t)
	before := d.state()
	want := []Applied{{"policy", "evenings", Added}, {"role", "kid", Added}}
	list, err := d.Apply(d.olga, document(t, evenings), Terms{}, true)
	if err != nil || !slices.Equal(list, want) || d.state() != before || len(d.events) != 0 {
		t.Errorf("tried: %v, %v, %d events", list, err, len(d.events))
	}
	if list, err = d.Apply(d.olga, document(t, evenings), Terms{}, false); err != nil || !slices.Equal(list, want) || d.state() != before+1 {
		t.Errorf("applied: %v, %v", list, err)
	}
	if len(d.events) != 2 || d.events[0].Kind != acl.EventPolicy || d.events[1].Kind != acl.EventRole || d.events[1].Outcome != acl.OutcomeOK {
		t.Errorf("events %+v", d.events)
	}
	d.events = nil
	if list, err = d.Apply(d.olga, document(t, evenings), Terms{}, false); err != nil || list[0].Change != Unchanged || len(d.events) != 0 {
		t.Errorf("again: %v, %v, %d events", list, err, len(d.events))
	}
}

// TestApplyRefused: nothing of a document holds when a test fails, a role refers to
// nothing, or the last administrator would go.
func TestApplyRefused(t *testing.T) {
	for name, text := range map[string]string{
		"test": `{"policies": [{"name": "p", "statements": []}], "tests": [{"expect": "allow", "role": "guest", "request": {"action": "coap:put", "resource": "/x"}}]}`,
		"role": `{"policies": [{"name": "p", "statements": []}], "roles": [{"name": "kid", "policies": ["nothing"]}]}`,
		"last": `{"name": "admin", "statements": []}`,
	} {
		d := newDesk(t)
		before := d.state()
		_, err := d.Apply(d.olga, document(t, text), Terms{}, false)
		var failed *TestError
		if code := latchkey.CodeOf(err); code != latchkey.CodeConflict && code != latchkey.CodeProtocol || errors.As(err, &failed) != (name == "test") {
			t.Errorf("%s: %v", name, err)
		}
		if d.state() != before {
			t.Errorf("%s: something was changed", name)
		}
		for _, e := range d.events {
			if e.Outcome != acl.OutcomeRefused {
				t.Errorf("%s: event %+v", name, e)
			}
		}
		if len(d.events) == 0 {
			t.Errorf("%s: nothing was recorded", name)
		}
	}
}

// TestApplyVersion: a policy that somebody else has changed is not overwritten, not
// even tried.
func TestApplyVersion(t *testing.T) {
	d := newDesk(t)
	d.put(d.policy("own", allow("coap:get")))
	was, err := d.Policy("own")
	if err != nil {
		t.Fatal(err)
	}
	mine := document(t, `{"name": "own", "statements": []}`)
	for _, version := range []string{Absent, "0000000000000000"} {
		for _, trial := range []bool{false, true} {
			if _, err := d.Apply(d.olga, mine, Terms{Version: version, Force: true}, trial); !errors.Is(err, latchkey.ErrConflict) {
				t.Errorf("version %s: %v", version, err)
			}
		}
	}
	if _, err := d.Apply(d.olga, document(t, evenings), Terms{Version: was.Version}, false); !errors.Is(err, latchkey.ErrProtocol) {
		t.Errorf("several at one version: %v", err)
	}
	if _, err := d.Apply(d.olga, mine, Terms{Version: was.Version}, false); err != nil {
		t.Error(err)
	}
	if _, err := d.Apply(d.olga, document(t, `{"name": "own", "statements": []}`), Terms{Version: was.Version}, false); !errors.Is(err, latchkey.ErrConflict) {
		t.Errorf("again: %v", err)
	}
	if _, err := d.Apply(d.olga, document(t, `{"name": "fresh", "statements": []}`), Terms{Version: Absent}, false); err != nil {
		t.Error(err)
	}
}
