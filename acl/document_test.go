package acl

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
)

const goodDocument = `{
  "policies": [
    {"name": "evenings", "statements": [
      {"effect": "allow", "actions": ["coap:*"], "resources": ["/light/**"],
       "conditions": [{"attribute": "time", "operator": "within", "values": ["18:00-23:00 UTC"]}]},
      {"effect": "deny", "actions": ["coap:put"], "resources": ["/light/1"], "mode": "silent",
       "conditions": [{"attribute": "key.age", "operator": "below", "values": ["30d"]}]}
    ]},
    {"name": "team", "statements": [
      {"effect": "allow", "actions": ["tunnel:open"], "resources": ["${claim.team}"]}
    ]}
  ],
  "roles": [
    {"name": "kid", "policies": ["evenings"], "includes": ["guest"]},
    {"name": "teen", "includes": ["kid", "token"]},
    {"name": "token", "policies": ["team"]}
  ],
  "tests": [
    {"name": "in the evening", "expect": "allow", "role": "kid",
     "request": {"action": "coap:get", "resource": "/light/1", "time": "2026-11-22T18:00:00Z"}},
    {"name": "by day", "expect": "refuse", "role": "teen",
     "request": {"action": "coap:get", "resource": "/light/1", "time": "2026-11-22T17:59:59Z"}},
    {"name": "clock unknown", "expect": "refuse", "role": "kid",
     "request": {"action": "coap:get", "resource": "/light/1"}},
    {"name": "a young key", "expect": "deny", "policies": ["team", "evenings"],
     "request": {"action": "coap:put", "resource": "/light/1", "time": "2026-11-22T18:00:00Z", "key_age": "29d"}},
    {"name": "an old key", "expect": "allow", "policies": ["evenings"],
     "request": {"action": "coap:put", "resource": "/light/1", "time": "2026-11-22T18:00:00Z", "key_age": "720h"}},
    {"name": "a claim", "expect": "allow", "role": "teen",
     "request": {"action": "tunnel:open", "resource": "red", "service_type": "tcp", "claims": {"team": "red", "more": ["a", "b"]}}},
    {"name": "what guests may", "expect": "allow", "role": "teen",
     "request": {"action": "coap:get", "resource": "/me", "user": "bob", "path": "relay", "source": "192.0.2.1",
      "key_origin": "manual", "device": "lamp/abc", "key": "0000000000000000000000000000000000000000000000000000000000000001"}},
    {"expect": "refuse", "role": "unpaired", "request": {"action": "coap:get", "resource": "/me"}}
  ]
}
`

func parseGood(t testing.TB) *Document {
	t.Helper()
	d, err := ParseDocument("d.json", []byte(goodDocument))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestParseDocument(t *testing.T) {
	d := parseGood(t)
	if len(d.Policies) != 2 || len(d.Roles) != 3 || len(d.Cases) != 8 {
		t.Fatalf("%d policies, %d roles, %d tests", len(d.Policies), len(d.Roles), len(d.Cases))
	}
	if got := d.Roles[1]; got.Name != "teen" || !slices.Equal(got.Includes, []string{"kid", "token"}) || len(got.Policies) > 0 {
		t.Errorf("%+v", got)
	}
	if got := d.Policies[0].Statements()[1]; got.Mode != Silent {
		t.Errorf("%+v", got)
	}
	if err := d.Resolve(DefaultRules()); err != nil {
		t.Error(err)
	}
	for _, f := range d.Check(DefaultRules()) {
		t.Error(f)
	}
	r := d.Cases[6].Request
	if r.User != "bob" || r.Role != "teen" || r.Path != PathRelay || r.Source.String() != "192.0.2.1" || r.KeyOrigin != "manual" ||
		r.Device.String() != "lamp/abc" || r.Peer.IsZero() {
		t.Errorf("%+v", r)
	}
	if r := d.Cases[4].Request; r.Time.Sub(r.KeyAdded).Hours() != 720 {
		t.Errorf("%+v", r)
	}
}

// One policy alone is a document too, and its tests are about it.
func TestParseDocumentOfOnePolicy(t *testing.T) {
	d, err := ParseDocument("p.json", []byte(goodPolicy))
	if err != nil || len(d.Policies) != 1 || d.Policies[0].Name() != "evenings" {
		t.Fatalf("%+v, %v", d, err)
	}
	whole := strings.TrimSuffix(strings.TrimSpace(goodPolicy), "}") + `, "tests": [
	  {"expect": "allow", "request": {"action": "coap:put", "resource": "/light/1", "path": "local"}},
	  {"expect": "refuse", "request": {"action": "coap:put", "resource": "/light/1", "path": "relay"}},
	  {"expect": "allow", "role": "user", "request": {"action": "coap:put", "resource": "/x"}}
	]}`
	if d, err = ParseDocument("p.json", []byte(whole)); err != nil {
		t.Fatal(err)
	}
	if len(d.Cases) != 3 {
		t.Fatalf("%d tests", len(d.Cases))
	}
	for _, f := range d.Check(DefaultRules()) {
		t.Error(f)
	}
	if _, err := ParsePolicy("p.json", []byte(whole)); err == nil {
		t.Error("a policy with tests is not what a store keeps")
	}
}

// Each edit of the good document is refused, at the line and column of the
// mistake.
func TestParseDocumentRefuses(t *testing.T) {
	for _, c := range []struct{ name, from, to, want string }{
		{"unknown field", `"roles"`, `"groups"`, `13:3: unknown field "groups"`},
		{"wrong case of a field", `"tests"`, `"Tests"`, `18:3: unknown field "Tests"`},
		{"field twice", `"roles": [`, `"roles": [], "roles": [`, `13:16: field "roles" stands here a second time`},
		{"a policy's field", `"roles": [`, `"name": "x", "roles": [`, `2:15: policies stand in a document without name and statements`},
		{"text for a list of policies", `"policies": ["evenings"], "includes"`, `"policies": "evenings", "includes"`, `14:33: a list [...] must stand here`},
		{"text for a list of roles", `["kid", "token"]`, `"kid"`, `15:34: a list [...] must stand here`},
		{"number for a name", `"name": "teen"`, `"name": 7`, `15:14: a text in quotes must stand here`},
		{"role without a name", `"name": "teen", `, ``, `15:5: field "name" is missing`},
		{"bad name of a role", `"name": "teen"`, `"name": "Teen"`, `15:14: role name "Teen"`},
		{"bad name of an included role", `["kid", "token"]`, `["kid", "../token"]`, `15:42: role name "../token"`},
		{"role twice", `"name": "teen"`, `"name": "kid"`, `15:5: role "kid" stands here a second time`},
		{"policy twice", `"name": "team"`, `"name": "evenings"`, `9:5: policy "evenings" stands here a second time`},
		{"included twice", `["kid", "token"]`, `["kid", "kid"]`, `15:42: role "kid" stands here a second time`},
		{"policy of a role twice", `["evenings"], "includes"`, `["evenings", "evenings"], "includes"`, `14:46: policy "evenings" stands here a second time`},
		{"role includes itself", `"includes": ["guest"]`, `"includes": ["kid"]`, `14:60: roles in a circle: kid includes kid`},
		{"roles include each other", `"includes": ["guest"]`, `"includes": ["guest", "teen"]`, `15:35: roles in a circle: kid includes teen includes kid`},
		{"unknown attribute", `"attribute": "time"`, `"attribute": "clock"`, `5:37: unknown attribute "clock"`},
		{"wrong case of an attribute", `"key.age"`, `"key.Age"`, `7:37: unknown attribute "key.Age"`},
		{"claim without a name", `"attribute": "time"`, `"attribute": "claim."`, `5:37: claim name ""`},
		{"claim with a space", `${claim.team}`, `${claim.my team}`, `10:69: claim name "my team"`},
		{"time as a variable", `${claim.team}`, `${time}`, `10:69: "${time}": time is not text and cannot be a variable`},
		{"age as a variable", `${claim.team}`, `${key.age}`, `10:69: "${key.age}": key.age is not text and cannot be a variable`},
		{"operator of texts for a time", `"within"`, `"equals"`, `5:23: operator "equals" does not fit attribute "time"; "within" and "not-within" do`},
		{"operator of times for an age", `"below"`, `"within"`, `7:23: operator "within" does not fit attribute "key.age"`},
		{"unknown operator", `"below"`, `"under"`, `7:60: unknown operator "under"`},
		{"bad time", `"18:00-23:00 UTC"`, `"18-23 UTC"`, `5:78: "18" is not a time of day`},
		{"unknown zone", `"18:00-23:00 UTC"`, `"18:00-23:00 Mars/Base"`, `5:78: this machine does not know the time zone "Mars/Base"`},
		{"bad age", `"30d"`, `"1 month"`, `7:80: "1 month" is not an age`},
		{"two ages", `["30d"]`, `["30d", "60d"]`, `7:23: key.age is compared with one value`},
		{"unknown mode", `"silent"`, `"quiet"`, `6:86: unknown mode "quiet"`},
		{"wrong case of a mode", `"silent"`, `"Silent"`, `6:86: unknown mode "Silent"`},
		{"silent on what changes nothing", `["coap:put"]`, `["coap:put", "coap:get"]`, `6:98: mode "silent" is for actions that change something, and "coap:get"`},
		{"silent on all", `["coap:put"]`, `["coap:*"]`, `6:84: mode "silent" is for actions that change something, and "coap:*"`},
		{"mode of an allow", `"deny", "actions"`, `"allow", "actions"`, `6:87: only a statement that denies has a mode`},
		{"unknown expectation", `"expect": "deny"`, `"expect": "no match"`, `25:39: unknown expectation "no match"`},
		{"wrong case of an expectation", `"expect": "deny"`, `"expect": "Deny"`, `25:39: unknown expectation "Deny"`},
		{"no expectation", `"expect": "deny", `, ``, `25:5: field "expect" is missing`},
		{"no request", `, "request": {"action": "coap:get", "resource": "/me"}`, ``, `34:5: field "request" is missing`},
		{"nobody asks", `"policies": ["team", "evenings"],`, ``, `25:5: a test is about policies, a role or a user`},
		{"two ask", `"expect": "refuse", "role": "unpaired"`, `"expect": "refuse", "role": "unpaired", "user": "bob"`, `34:5: a test is about policies, a role or a user, not`},
		{"role twice over", `"resource": "/me", "user": "bob"`, `"resource": "/me", "role": "admin"`, `32:17: the test already says who asks`},
		{"text for policies", `"policies": ["team", "evenings"]`, `"policies": "team"`, `25:59: a list [...] must stand here`},
		{"no policies", `"policies": ["team", "evenings"]`, `"policies": []`, `25:59: policies is empty`},
		{"unknown action", `"action": "tunnel:open", "resource": "red"`, `"action": "tunnel:*", "resource": "red"`, `30:28: unknown action "tunnel:*"`},
		{"no resource", `"resource": "red", `, ``, `30:17: field "resource" is missing`},
		{"unknown fact", `"path": "relay"`, `"listing": true`, `32:74: unknown field "listing"`},
		{"unknown path", `"relay"`, `"lan"`, `32:82: connection.path is "local", "direct" or "relay", never "lan"`},
		{"bad address", `"192.0.2.1"`, `"192.0.2.0/24"`, `32:101: "192.0.2.0/24" is not an IP address`},
		{"bad device", `"lamp/abc"`, `"lamp"`, `33:41: "lamp" is not a device id`},
		{"bad key", `"0000000`, `"x000000`, `33:60: "x000`},
		{"bad time of a request", `"2026-11-22T17:59:59Z"`, `"17:59"`, `22:72: "17:59" is not a time such as`},
		{"time as a number", `"2026-11-22T17:59:59Z"`, `1700000000`, `22:72: a text in quotes must stand here`},
		{"age without a time", `"time": "2026-11-22T18:00:00Z", "key_age": "29d"`, `"key_age": "29d"`, `26:17: key_age needs a time`},
		{"bad age of a key", `"29d"`, `"29.5d"`, `26:107: "29.5d" is not an age`},
		{"bad service type", `"tcp"`, `"TCP"`, `30:78: service.type is`},
		{"claims as a list", `{"team": "red", "more": ["a", "b"]}`, `["red"]`, `30:95: an object {...} must stand here`},
		{"claim as a number", `"team": "red"`, `"team": 1`, `30:104: a text in quotes must stand here`},
		{"claim twice", `"more"`, `"team"`, `30:111: field "team" stands here a second time`},
		{"bad name of a claim", `"more"`, `"mo re"`, `30:111: claim name "mo re"`},
		{"something behind", "  ]\n}\n", "  ]\n} {}", `36:3: something stands behind the end`},
		{"empty", goodDocument, `{}`, `1:1: a document has a policy's name and statements, or policies, roles and tests`},
		{"a list", goodDocument, `[]`, `1:1: an object {...} must stand here`},
		{"a name alone", goodDocument, `{"name": "p"}`, `1:1: field "statements" is missing`},
		{"statements alone", goodDocument, "\n {\"statements\": []}", `2:2: field "name" is missing`},
		{"a policy with policies", goodDocument, `{"name": "p", "statements": [], "policies": []}`, `1:45: policies stand in a document without`},
	} {
		if strings.Count(goodDocument, c.from) != 1 {
			t.Fatalf("%s: %d places to change", c.name, strings.Count(goodDocument, c.from))
		}
		_, err := ParseDocument("d.json", []byte(strings.Replace(goodDocument, c.from, c.to, 1)))
		var position *PositionError
		switch {
		case err == nil:
			t.Errorf("%s: accepted", c.name)
		case !errors.As(err, &position):
			t.Errorf("%s: no position: %v", c.name, err)
		case !strings.HasPrefix(err.Error(), "d.json:"+c.want):
			t.Errorf("%s: got %q, want %q", c.name, err, "d.json:"+c.want)
		}
	}
}

// A text that was cut anywhere is refused.
func TestParseDocumentPrefixes(t *testing.T) {
	whole := strings.TrimSpace(goodDocument)
	for n := range len(whole) {
		if _, err := ParseDocument("d.json", []byte(whole[:n])); err == nil {
			t.Errorf("the first %d bytes are accepted", n)
		}
	}
}

func TestParseDocumentLimits(t *testing.T) {
	if _, err := ParseDocument("d.json", make([]byte, 10<<20)); !errors.Is(err, latchkey.ErrTooLarge) || !strings.Contains(err.Error(), "d.json") {
		t.Errorf("10 MiB: %v", err)
	}
	repeat := func(n int, one string) string { return strings.TrimSuffix(strings.Repeat(one+",", n), ",") }
	test := `{"expect":"allow","policies":["p"],"request":{"action":"coap:get","resource":"/"}}`
	claims := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(`,"c` + strings.Repeat("x", i%50) + strings.Repeat("y", i/50) + `":"v"`)
		}
		return `{"tests":[` + strings.Replace(test, `"/"}`, `"/","claims":{`+b.String()[1:]+`}}`, 1) + `]}`
	}
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"as many tests as possible":  {`{"tests":[` + repeat(MaxCases, test) + `]}`, true},
		"too many tests":             {`{"tests":[` + repeat(MaxCases+1, test) + `]}`, false},
		"as many claims as possible": {claims(MaxList), true},
		"too many claims":            {claims(MaxList + 1), false},
		"a long resource":            {strings.Replace(`{"tests":[`+test+`]}`, `"/"`, `"/`+strings.Repeat("a", MaxResource-1)+`"`, 1), true},
		"a resource that is too long": {
			strings.Replace(`{"tests":[`+test+`]}`, `"/"`, `"/`+strings.Repeat("a", MaxResource)+`"`, 1), false,
		},
		"too many includes":  {`{"roles":[{"name":"r","includes":[` + repeat(MaxAttached+1, `"a"`) + `]}]}`, false},
		"too deep":           {`{"tests":` + strings.Repeat("[", 100_000), false},
		"too deep in claims": {`{"tests":[` + strings.Replace(test, `"/"}`, `"/","claims":{"a":`+strings.Repeat("[", 100_000), 1), false},
		"a long chain of roles": {`{"roles":[` + repeat(1, `{"name":"r0"}`) + func() (s string) {
			for i := range MaxRoles - 1 {
				s += `,{"name":"r` + itoa(i+1) + `","includes":["r` + itoa(i) + `"]}`
			}
			return s
		}() + `]}`, true},
	} {
		if _, err := ParseDocument("d.json", []byte(c.text)); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a document refers to is looked for in the document and in the store.
func TestResolve(t *testing.T) {
	base := DefaultRules()
	base.Roles = append(base.Roles, Role{Name: "upper", Includes: []string{"lower"}})
	for _, c := range []struct{ name, text, want string }{
		{"all there", `{"roles": [{"name": "a", "policies": ["guest"], "includes": ["user"]}]}`, ""},
		{"missing policy", `{"roles": [{"name": "a", "policies": ["guest", "ghost"]}]}`, `d:1:48: role "a": there is no policy "ghost"`},
		{"missing role", `{"roles": [{"name": "a", "includes": ["ghost"]}]}`, `d:1:39: role "a": there is no role "ghost" to include`},
		{"a circle through the store", `{"roles": [{"name": "lower", "includes": ["upper"]}]}`, `d:1:12: roles in a circle: lower includes upper includes lower`},
		{"a built-in role includes itself", `{"roles": [{"name": "b", "includes": ["guest"]}, {"name": "guest", "includes": ["b"]}]}`, `d:1:81: roles in a circle`},
	} {
		d, err := ParseDocument("d", []byte(c.text))
		if err == nil {
			err = d.Resolve(base)
		}
		if got := errorText(err); !strings.HasPrefix(got, c.want) || c.want == "" && err != nil {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	d := &Document{Roles: []Role{{Name: "a", Policies: []string{"ghost"}}}}
	if err := d.Resolve(base); err == nil || errors.As(err, new(*PositionError)) {
		t.Errorf("a document without a text: %v", err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// The rules of a new store are those that documents are checked against when
// there is no store.
func TestDefaultRules(t *testing.T) {
	rules, err := newStore(t).Rules()
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultRules()
	byName := func(a, b *Policy) int { return strings.Compare(a.name, b.name) }
	slices.SortFunc(want.Policies, byName)
	slices.SortFunc(rules.Policies, byName)
	roleByName := func(a, b Role) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(want.Roles, roleByName)
	slices.SortFunc(rules.Roles, roleByName)
	if a, b := text(t, rules.Policies)+text(t, rules.Roles), text(t, want.Policies)+text(t, want.Roles); a != b {
		t.Errorf("a store has\n%s\nDefaultRules has\n%s", a, b)
	}
}

// The documents that the package documentation shows are documents, and their
// tests pass.
func TestDocumentedDocuments(t *testing.T) {
	source, err := os.ReadFile("document.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile(`(?m)^//\t\{[^\n]*\n(//\t.*\n)*`).FindAllString(string(source), -1)
	for _, block := range blocks {
		d, err := ParseDocument("document.go", []byte(strings.ReplaceAll(block, "//\t", "")))
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Cases) == 0 {
			t.Error("a sample without tests")
		}
		for _, f := range d.Check(DefaultRules()) {
			t.Error(f)
		}
	}
	if len(blocks) != 2 {
		t.Errorf("found %d samples", len(blocks))
	}
}
