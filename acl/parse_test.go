package acl

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
)

const goodPolicy = `{
  "name": "evenings",
  "statements": [
    {
      "effect": "allow",
      "actions": ["coap:get", "coap:put"],
      "resources": ["/light/**"],
      "conditions": [
        {"attribute": "connection.path", "operator": "equals", "values": ["local"]}
      ]
    }
  ]
}
`

func TestParsePolicy(t *testing.T) {
	p, err := ParsePolicy("p.json", []byte(goodPolicy))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"evenings","statements":[{"effect":"allow","actions":["coap:get","coap:put"],"resources":["/light/**"],` +
		`"conditions":[{"attribute":"connection.path","operator":"equals","values":["local"]}]}]}`
	if got := text(t, p); got != want {
		t.Errorf("got %s", got)
	}
	r := &Request{Action: CoAPPut, Resource: "/light/1", Path: PathLocal}
	if d := Evaluate(r, p); d.Effect != Allow {
		t.Errorf("%+v", d)
	}
}

// Each edit of the good policy is refused, at the line and column of the mistake.
func TestParsePolicyRefuses(t *testing.T) {
	for _, c := range []struct{ name, from, to, want string }{
		{"unknown effect", `"allow"`, `"permit"`, `5:17: unknown effect "permit"`},
		{"wrong case of an effect", `"allow"`, `"Allow"`, `5:17: unknown effect "Allow"`},
		{"effect of no statement", `"allow"`, `"no match"`, `5:17: unknown effect`},
		{"effect as a number", `"allow"`, `1`, `5:17: a text in quotes must stand here`},
		{"effect as null", `"allow"`, `null`, `5:17: a text in quotes must stand here`},
		{"wrong case of a field", `"effect"`, `"Effect"`, `5:7: unknown field "Effect"`},
		{"unknown field", `"effect"`, `"when": 1, "effect"`, `5:7: unknown field "when"`},
		{"our own mark", `"conditions"`, `"conditions?"`, `8:7: unknown field "conditions?"`},
		{"field twice", `"effect": "allow",`, `"effect": "allow", "effect": "deny",`, `5:26: field "effect" stands here a second time`},
		{"field missing", `"effect": "allow",`, ``, `4:5: field "effect" is missing`},
		{"actions missing", `"actions": ["coap:get", "coap:put"],`, ``, `4:5: field "actions" is missing`},
		{"name missing", `"name": "evenings",`, ``, `1:1: field "name" is missing`},
		{"bad name", `"evenings"`, `"Evenings!"`, `2:11: policy name "Evenings!"`},
		{"text for a list", `["/light/**"]`, `"/light/**"`, `7:20: a list [...] must stand here`},
		{"object for a list", `["/light/**"]`, `{}`, `7:20: a list [...] must stand here`},
		{"list for an object", `"conditions": [`, `"conditions": [[`, `8:22: an object {...} must stand here`},
		{"empty list", `["/light/**"]`, `[]`, `7:20: resources is empty`},
		{"list in a list", `["/light/**"]`, `[["/light/**"]]`, `7:21: a text in quotes must stand here`},
		{"unknown action", `"coap:put"`, `"coap:write"`, `6:31: unknown action "coap:write"`},
		{"bad resource", `"/light/**"`, `"/light/x*"`, `7:21: resource pattern "/light/x*"`},
		{"unknown variable", `"/light/**"`, `"/${me}"`, `7:21: unknown attribute "me"`},
		{"escaped control character", `"/light/**"`, `"/light/\u0000"`, `7:21: "/light/\x00" contains a character`},
		{"half a character", `"/light/**"`, `"/\ud800"`, `7:21: "/` + "\ufffd" + `" is not valid UTF-8`},
		{"unknown attribute", `"connection.path"`, `"path"`, `9:23: unknown attribute "path"`},
		{"unknown operator", `"equals"`, `"Equals"`, `9:54: unknown operator "Equals"`},
		{"operator that does not fit", `"equals"`, `"in"`, `9:9: operator "in" does not fit attribute "connection.path"`},
		{"impossible value", `["local"]`, `["lan"]`, `9:75: connection.path is "local", "direct" or "relay", never "lan"`},
		{"no values", `["local"]`, `[]`, `9:74: values is empty`},
		{"something behind", "]\n}\n", "]\n}\n{}", `14:1: something stands behind the end`},
		{"a comma behind", "]\n}\n", "]\n},", `13:3: something stands behind the end`},
		{"a comma too many", `["local"]}`, `["local"]},`, `10:7: `},
		{"a comma too few", `"name": "evenings",`, `"name": "evenings"`, `3:3: `},
		{"not JSON", goodPolicy, `effect: allow`, `1:1: `},
		{"a comment", goodPolicy, "{ // night\n}", `1:3: `},
		{"nothing", goodPolicy, ``, `1:1: the text ends too early`},
		{"only a text", goodPolicy, `"allow"`, `1:1: an object {...} must stand here`},
		{"columns count characters", `"evenings"`, `"évé"`, `2:11: policy name`},
	} {
		if !strings.Contains(goodPolicy, c.from) {
			t.Fatalf("%s: nothing to replace", c.name)
		}
		_, err := ParsePolicy("p.json", []byte(strings.Replace(goodPolicy, c.from, c.to, 1)))
		var position *PositionError
		switch {
		case err == nil:
			t.Errorf("%s: accepted", c.name)
		case !errors.As(err, &position):
			t.Errorf("%s: no position: %v", c.name, err)
		case !strings.HasPrefix(err.Error(), "p.json:"+c.want):
			t.Errorf("%s: got %q, want %q", c.name, err, "p.json:"+c.want)
		}
	}
}

// A text that was cut anywhere is refused.
func TestParsePolicyPrefixes(t *testing.T) {
	whole := strings.TrimSpace(goodPolicy)
	for n := range len(whole) {
		if _, err := ParsePolicy("p.json", []byte(whole[:n])); err == nil {
			t.Errorf("the first %d bytes are accepted", n)
		}
	}
}

func TestParsePolicyLimits(t *testing.T) {
	if _, err := ParsePolicy("p.json", make([]byte, 10<<20)); !errors.Is(err, latchkey.ErrTooLarge) {
		t.Errorf("10 MiB: %v", err)
	}
	statement := `{"effect":"allow","actions":["*"],"resources":["**"]}`
	for n, ok := range map[int]bool{0: true, MaxStatements: true, MaxStatements + 1: false} {
		policy := `{"name":"p","statements":[` + strings.TrimSuffix(strings.Repeat(statement+",", n), ",") + `]}`
		if _, err := ParsePolicy("p.json", []byte(policy)); (err == nil) != ok {
			t.Errorf("%d statements: %v", n, err)
		}
	}
	deep := `{"name":"p","statements":` + strings.Repeat("[", 100_000)
	if _, err := ParsePolicy("p.json", []byte(deep)); err == nil {
		t.Error("deep nesting: accepted")
	}
}

// The policies that the documentation shows are policies.
func TestDocumentedPolicies(t *testing.T) {
	found := 0
	for _, file := range []string{"doc.go", "parse.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		comments := regexp.MustCompile(`(?m)^//\t\{"name"[^\n]*\n(//\t.*\n)*`)
		for _, block := range comments.FindAllString(string(source), -1) {
			found++
			sample := strings.ReplaceAll(block, "//\t", "")
			if _, err := ParsePolicy(file, []byte(sample)); err != nil {
				t.Errorf("%v in\n%s", err, sample)
			}
		}
	}
	if found != 2 {
		t.Errorf("found %d samples", found)
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(goodPolicy))
	f.Add([]byte(`{"name":"p","statements":[]}`))
	f.Add([]byte(`{"name":"p","statements":[{"effect":"deny","actions":["*"],"resources":["**","/${device.id}/*"],"conditions":[{"attribute":"connection.source","operator":"not-in","values":["::/0"]}]}]}`))
	f.Add([]byte("{\"name\":\"\\ud800\xff\""))
	r := &Request{Action: CoAPGet, Resource: "/light/1", User: "alice", Path: PathLocal}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy("f", data)
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
		again, err := ParsePolicy("f", []byte(text(t, p)))
		if err != nil {
			t.Fatalf("%v in %s", err, text(t, p))
		}
		if text(t, p) != text(t, again) {
			t.Fatalf("%s became %s", text(t, p), text(t, again))
		}
		if a, b := Evaluate(r, p).Effect, modelDecide(r, []*Policy{again}); a != b {
			t.Fatalf("%s: got %s, the model says %s", text(t, p), a, b)
		}
	})
}
