package acl

import (
	"testing"
)

func TestDocumentCheck(t *testing.T) {
	d, err := ParseDocument("d.json", []byte(`{"policies": [
	  {"name": "evenings", "statements": [
	    {"effect": "allow", "actions": ["coap:*"], "resources": ["/light/**"]}
	  ]}
	],
	"roles": [{"name": "kid", "policies": ["evenings"], "includes": ["guest"]}],
	"tests": [
	  {"name": "at night", "expect": "refuse", "role": "kid",
	   "request": {"action": "coap:put", "resource": "/light/1", "time": "2026-11-22T23:00:00Z", "claims": {"a":["b"]}}}
	]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range d.Check(DefaultRules()) {
		if f.Line != 8 || f.Decision.Effect != Allow {
			t.Error(f)
		}
	}
}
