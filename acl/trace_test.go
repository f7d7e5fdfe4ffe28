package acl

import (
	"testing"
	"time"
)

// A step names the fact that a request lacks, for allows that fail and for
// denies that match because of it.
func TestTraceNamesGaps(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	condition := func(attribute string, o Operator, values ...string) []Condition {
		return []Condition{{attribute, o, values}}
	}
	evening := condition("time", Within, "18:00-23:00 UTC")
	young := condition("key.age", Below, "1d")
	staff := condition("claim.groups", Equals, "staff")
	for _, c := range []struct {
		name        string
		resource    string // "" is **
		conditions  []Condition
		r           Request
		allow, deny string
	}{
		{
			"clock", "", evening,
			Request{},
			"condition does not hold: time within 18:00-23:00 UTC, the clock is not known",
			"matches, because the clock is not known",
		},
		{
			"time known", "", evening,
			Request{Time: now},
			"condition does not hold: time within 18:00-23:00 UTC", "condition does not hold: time within 18:00-23:00 UTC",
		},
		{
			"age, no clock", "", young,
			Request{KeyAdded: now},
			"condition does not hold: key.age below 1d, the clock is not known", "matches, because the clock is not known",
		},
		{
			"age, not known when added", "", young,
			Request{Time: now},
			"condition does not hold: key.age below 1d, it is not known when the key was added",
			"matches, because it is not known when the key was added",
		},
		{
			"age, from the future", "", young,
			Request{Time: now, KeyAdded: now.Add(1)},
			"condition does not hold: key.age below 1d, the key was added later than the clock says it is now",
			"matches, because the key was added later than the clock says it is now",
		},
		{
			"no claim", "", staff,
			Request{},
			`condition does not hold: claim.groups equals staff, there is no claim "groups"`, `matches, because there is no claim "groups"`,
		},
		{
			"claim of another kind", "", staff,
			Request{Claims: map[string]any{"groups": 1.0}},
			`condition does not hold: claim.groups equals staff, claim "groups" is no text and no list of texts`,
			`matches, because claim "groups" is no text and no list of texts`,
		},
		{
			"claim known", "", staff,
			Request{Claims: map[string]any{"groups": []any{"guests"}}},
			"condition does not hold: claim.groups equals staff", "condition does not hold: claim.groups equals staff",
		},
		{
			"source", "", condition("connection.source", In, "10.0.0.0/8"),
			Request{},
			"condition does not hold: connection.source in 10.0.0.0/8, connection.source is not known",
			"matches, because connection.source is not known",
		},
		{
			"value of a condition", "", condition("connection.user", NotEquals, "${claim.owner}"),
			Request{User: "bob"},
			`condition does not hold: connection.user not-equals ${claim.owner}, there is no claim "owner"`,
			`matches, because there is no claim "owner"`,
		},
		{
			"variable", "/home/${connection.user}/x", nil,
			Request{},
			"is about other resources, connection.user is not known", "matches, because connection.user is not known",
		},
		{
			"variable, other path", "/home/${connection.user}/y", nil,
			Request{},
			"is about other resources", "is about other resources",
		},
		{
			"variable with a slash", "/home/${connection.user}/x", nil,
			Request{User: "a/b"},
			"is about other resources, connection.user has a slash in it", "matches, because connection.user has a slash in it",
		},
		{
			"variable that is a list", "/home/${claim.groups}/x", nil,
			Request{Claims: map[string]any{"groups": []any{"a"}}},
			`is about other resources, claim "groups" is not a single text`, `matches, because claim "groups" is not a single text`,
		},
		{
			"variable in a second place", "/home/a${connection.role}${claim.team}/x", nil,
			Request{Role: "kid"},
			`is about other resources, there is no claim "team"`, `matches, because there is no claim "team"`,
		},
		{"all known", "/home/${connection.user}/x", nil, Request{User: "bob"}, "matches", "matches"},
	} {
		if c.resource == "" {
			c.resource = "**"
		}
		c.r.Action, c.r.Resource = CoAPGet, "/home/bob/x"
		for effect, want := range map[Effect]string{Allow: c.allow, Deny: c.deny} {
			p, err := NewPolicy("p", Statement{Effect: effect, Actions: []string{"*"}, Resources: []string{c.resource}, Conditions: c.conditions})
			if err != nil {
				t.Fatal(err)
			}
			if got := Evaluate(&c.r, p).Trace[0].Reason; got != want {
				t.Errorf("%s, %s:\ngot  %s\nwant %s", c.name, effect, got, want)
			}
		}
	}
}

// A second resource that is known to match leaves no gap.
func TestTraceWithoutGap(t *testing.T) {
	p, err := NewPolicy("p", Statement{Effect: Deny, Actions: []string{"*"}, Resources: []string{"/${connection.user}", "/x"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := Evaluate(&Request{Action: CoAPGet, Resource: "/x"}, p).Trace[0].Reason; got != "matches" {
		t.Error(got)
	}
}
