package acl

import (
	"encoding/json"

	"github.com/latchkey-dev/latchkey/internal/vault"
)

// Files of version 1 have no invitations, removed keys or anchor, and their
// strangers cannot show a token.

// unpairedV1 is the policy of that name as version 1 wrote it.
const unpairedV1 = `{"name":"unpaired","statements":[{"effect":"allow","actions":["pair:*"],"resources":["**"]}]}`

// migrate brings the records of an earlier version to the present one. Policies
// that the owner changed stay what the owner made of them.
func migrate(_ int, records map[vault.ID]vault.Record) (map[vault.ID]vault.Record, error) {
	id := policyID(RoleUnpaired)
	if records[id] != vault.Seal(id, []byte(unpairedV1)) {
		return nil, nil
	}
	p, err := NewPolicy(RoleUnpaired, defaultPolicies()[RoleUnpaired]...)
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return map[vault.ID]vault.Record{id: vault.Seal(id, payload)}, nil
}
