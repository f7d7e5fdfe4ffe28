package acl

import (
	"os"
	"strings"
	"testing"
)

// What docs/access.md shows can be applied to a new device as it stands.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../docs/access.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := 0
	for _, after := range strings.Split(string(text), "```json\n")[1:] {
		block, _, _ := strings.Cut(after, "```")
		d, err := ParseDocument("access.md", []byte(block))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Resolve(DefaultRules()); err != nil {
			t.Error(err)
		}
		for _, f := range d.Check(DefaultRules()) {
			t.Error(f)
		}
		for _, f := range Lint(d, Surroundings{Rules: DefaultRules()}) {
			if f.Severity == SeverityError {
				t.Errorf("%s: %s", f.Code, f.Text)
			}
		}
		tests += len(d.Cases)
	}
	if tests == 0 {
		t.Error("docs/access.md shows no tests")
	}
}
