package acl

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Every test of the good document fails when it expects something else, and
// says where, what and why.
func TestCheckFails(t *testing.T) {
	for i, c := range parseGood(t).Cases {
		d := parseGood(t)
		d.Cases[i].Expect = ExpectAllow
		if c.Expect == ExpectAllow {
			d.Cases[i].Expect = ExpectRefuse
		}
		failures := d.Check(DefaultRules())
		if len(failures) != 1 {
			t.Fatalf("test %d: %d failures", i, len(failures))
		}
		f := failures[0]
		if f.File != "d.json" || f.Case.Name != c.Name || f.Decision.Reason == "" || len(f.Decision.Trace) == 0 {
			t.Errorf("%+v", f)
		}
		if !c.Expect.met(f.Decision.Effect) {
			t.Errorf("%+v", f)
		}
	}
}

func TestFailureText(t *testing.T) {
	text := strings.Replace(goodDocument, `"expect": "deny", "policies"`, `"expect": "allow", "policies"`, 1)
	d, err := ParseDocument("d.json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	failures := d.Check(DefaultRules())
	if len(failures) != 1 {
		t.Fatal(failures)
	}
	want := `d.json:25:5: test "a young key" expects "allow", and the decision is "deny": denied by policy "evenings", statement 2`
	if got := failures[0].Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if m := failures[0].Decision.Mode; m != Silent {
		t.Errorf("mode %s", m)
	}
}

func TestCheckExpectations(t *testing.T) {
	for expect, want := range map[Expectation][3]bool{
		ExpectAllow:  {NoMatch: false, Allow: true, Deny: false},
		ExpectRefuse: {NoMatch: true, Allow: false, Deny: true},
		ExpectDeny:   {NoMatch: false, Allow: false, Deny: true},
		"":           {NoMatch: true, Allow: false, Deny: true},
	} {
		for effect, ok := range want {
			if got := expect.met(Effect(effect)); got != ok {
				t.Errorf("%q with %s: %t", expect, Effect(effect), got)
			}
		}
	}
}

// Users, roles and policies of the store are what a test meets, unless the
// document brings others of the same name.
func TestCheckAgainstBase(t *testing.T) {
	base := DefaultRules()
	base.Users = []User{{Name: "bob", Role: RoleGuest, Policies: []string{"ssh"}}, {Name: "eve", Role: "gone"}}
	ssh, err := NewPolicy("ssh", Statement{Effect: Allow, Actions: []string{"tunnel:open"}, Resources: []string{"ssh"}})
	if err != nil {
		t.Fatal(err)
	}
	base.Policies = append(base.Policies, ssh)
	ask := func(who, action, resource string) string {
		return `{"tests": [{"expect": "allow", ` + who + `, "request": {"action": "` + action + `", "resource": "` + resource + `"}}]}`
	}
	deny := `"policies": [{"name": "ssh", "statements": [{"effect": "deny", "actions": ["*"], "resources": ["**"]}]}], `
	narrow := `"roles": [{"name": "guest", "policies": []}], `
	wide := `"roles": [{"name": "guest", "policies": [], "includes": ["admin"]}], `
	for _, c := range []struct{ name, text, want string }{
		{"a user of the store", ask(`"user": "bob"`, "tunnel:open", "ssh"), ""},
		{"by its role", ask(`"user": "bob"`, "self:read", "bob"), ""},
		{"not more", ask(`"user": "bob"`, "tunnel:open", "vnc"), `the decision is "no match": no statement allows it`},
		{"a new policy counts", strings.Replace(ask(`"user": "bob"`, "self:read", "bob"), "{", "{"+deny, 1), `the decision is "deny"`},
		{"a new role counts", strings.Replace(ask(`"user": "bob"`, "self:read", "bob"), "{", "{"+narrow, 1), `the decision is "no match"`},
		{"an included role counts", strings.Replace(ask(`"user": "bob"`, "user:remove", "eve"), "{", "{"+wide, 1), ""},
		{"no such user", ask(`"user": "carol"`, "self:read", "carol"), `cannot be run: there is no user "carol"`},
		{"no such role", ask(`"role": "king"`, "self:read", "x"), `cannot be run: there is no role "king"`},
		{"no such role of a user", ask(`"user": "eve"`, "self:read", "x"), `cannot be run: there is no role "gone"`},
		{"no such policy", ask(`"policies": ["ghost"]`, "self:read", "x"), `cannot be run: there is no policy "ghost"`},
		{"a hostile resource", ask(`"role": "admin"`, "coap:get", "/a/../b"), `or a resource that is too long or not clean`},
	} {
		d, err := ParseDocument("d", []byte(c.text))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		failures := d.Check(base)
		switch {
		case c.want == "" && len(failures) > 0:
			t.Errorf("%s: %v", c.name, failures)
		case c.want != "" && (len(failures) != 1 || !strings.Contains(failures[0].Error(), c.want)):
			t.Errorf("%s: got %v, want %q", c.name, failures, c.want)
		}
	}
}

// A test is written as it is read.
func TestCaseRoundTrip(t *testing.T) {
	d := parseGood(t)
	again, err := ParseDocument("d", []byte(text(t, struct {
		Tests []Case `json:"tests"`
	}{d.Cases})))
	if err != nil {
		t.Fatal(err)
	}
	for i := range d.Cases {
		a, b := d.Cases[i], again.Cases[i]
		if text(t, a) != text(t, b) || text(t, a.Request) != text(t, b.Request) {
			t.Errorf("%s became %s", text(t, a), text(t, b))
		}
	}
}

// FuzzParseDocument reads any text, and runs its tests by the model too.
func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(goodDocument))
	f.Add([]byte(goodPolicy))
	f.Add([]byte(`{"roles":[{"name":"a","includes":["b"]},{"name":"b","includes":["a"]}]}`))
	f.Add([]byte(`{"name":"p","statements":[{"effect":"deny","mode":"silent","actions":["coap:put"],"resources":["/${claim.a}/**"],"conditions":[{"attribute":"time","operator":"not-within","values":["fri-mon 23:00-01:00 -03:30"]}]}],"tests":[{"expect":"refuse","request":{"action":"coap:put","resource":"/b","claims":{"a":["b"]}}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ParseDocument("f", data)
		if err != nil {
			var position *PositionError
			if !errors.As(err, &position) && !errors.Is(err, latchkey.ErrTooLarge) {
				t.Fatalf("no position: %v", err)
			}
			if position != nil && (position.Line < 1 || position.Column < 1) {
				t.Fatalf("position %d:%d", position.Line, position.Column)
			}
			return
		}
		for _, failure := range d.Check(DefaultRules()) {
			if failure.Line < 1 || failure.Column < 1 || failure.Problem == "" {
				t.Fatalf("%+v", failure)
			}
		}
		resolved := d.Resolve(DefaultRules()) == nil
		for _, c := range d.Cases {
			r := c.Request
			if !isValid(r.Resource, r.User, r.Role, r.KeyOrigin) {
				continue
			}
			if got, want := Evaluate(&r, d.Policies...).Effect, modelDecide(&r, d.Policies); got != want {
				t.Fatalf("%s: got %s, the model says %s", text(t, c), got, want)
			}
			if _, err := DefaultRules().with(d).state().run(c); resolved && c.Role != "" && err != nil && !strings.Contains(err.Error(), "there is no role") {
				t.Fatalf("%s: %v", text(t, c), err)
			}
		}
	})
}
