package acl

import (
	"encoding/json"
	"testing"
)

func TestLintDefaults(t *testing.T) {
	rules := DefaultRules()
	for name, d := range map[string]*Document{
		"alone": {Policies: rules.Policies, Roles: rules.Roles},
	} {
		for _, f := range Lint(d, Surroundings{Rules: rules}) {
			text, _ := json.Marshal(f)
			t.Errorf("%s: %s", name, text)
		}
	}
}
