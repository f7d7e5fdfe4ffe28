package acl

import (
	"encoding/json"

	"github.com/latchkey-dev/latchkey/internal/vault"
)

// Files of version 1 have no invitations, removed keys or anchor. Their strangers
// cannot show a token, and their guests cannot ask to pair again.

// formerly are the policies of built-in roles as version 1 wrote them.
var formerly = map[string]string{
	RoleUnpaired: `{"name":"unpaired","statements":[{"effect":"allow","actions":["pair:*"],"resources":["**"]}]}`,
	RoleGuest: `{"name":"guest","statements":[` +
		`{"effect":"allow","actions":["coap:get"],"resources":["/.well-known/core","/device/info","/services","/me"]},` +
		`{"effect":"allow","actions":["service:list","self:*"],"resources":["**"]}]}`,
}

// migrate brings the records of an earlier version to the present one. Policies
// that the owner changed stay what the owner made of them.
func migrate(_ int, records map[vault.ID]vault.Record) (map[vault.ID]vault.Record, error) {
	changes := make(map[vault.ID]vault.Record)
	for name, text := range formerly {
		id := policyID(name)
		if records[id] != vault.Seal(id, []byte(text)) {
			continue
		}
		p, err := NewPolicy(name, defaultPolicies()[name]...)
		if err != nil {
			return nil, err
		}
		payload, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		changes[id] = vault.Seal(id, payload)
	}
	return changes, nil
}
