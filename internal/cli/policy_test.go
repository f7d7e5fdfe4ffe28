package cli

import (
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey/acl"
)

func TestShownPolicy(t *testing.T) {
	const policy = `{"name":"own","statements":[]}`
	shown := "{\"name\":\"own\",\"roles\":[],\n\"version\":\"0123456789abcdef\", \"policy\": " + policy + "}\n"
	text, version := ShownPolicy([]byte(shown))
	if strings.TrimSpace(string(text)) != policy || strings.Index(string(text), policy) != strings.Index(shown, policy) || version != "0123456789abcdef" {
		t.Errorf("%q, %q", text, version)
	}
	if _, err := acl.ParseDocument("shown", text); err != nil {
		t.Error(err)
	}
	for _, other := range []string{
		"", "{", policy, `{"policies":[]}`, `{"name":"own","policy":{}}`, `{"version":"x","policy":{}}`, `{"name":"own","version":"x"}`,
	} {
		if text, version := ShownPolicy([]byte(other)); string(text) != other || version != "" {
			t.Errorf("%q: %q, %q", other, text, version)
		}
	}
}
