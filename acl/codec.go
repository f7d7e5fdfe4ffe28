package acl

import (
	"fmt"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

// Version is the version of the file format that this package writes. It opens
// no later one.
const Version = 2

// The buckets of the file. What lies in them is JSON.
const (
	usersBucket    = "users"
	keysBucket     = "keys" // by the 32 bytes of the fingerprint
	rolesBucket    = "roles"
	policiesBucket = "policies"
	settingsBucket = "settings"
	invitesBucket  = "invites"
	revokedBucket  = "revoked" // by the 32 bytes of the fingerprint
	anchorBucket   = "anchor"
)

var kind = &vault.Kind{
	Version: Version,
	MaxFile: MaxFile,
	Buckets: []string{
		usersBucket, keysBucket, rolesBucket, policiesBucket, settingsBucket, invitesBucket, revokedBucket, anchorBucket,
	},
	Migrate: migrate,
	Instead: "begin a new one that knows nobody",
	Damaged: ErrDamaged, InUse: ErrInUse, Newer: ErrNewer, Loose: ErrLoose,
}

// load decodes all records, or refuses them.
func (st *state) load(records map[vault.ID]vault.Record) error {
	for id, r := range records {
		if err := st.loadOne(id, r.Payload()); err != nil {
			return fmt.Errorf("record %q in %q: %w", id.Key, id.Bucket, err)
		}
	}
	return st.check()
}

// loadOne adds what one record says.
func (st *state) loadOne(id vault.ID, payload []byte) (err error) {
	var key string // where a record with this content belongs
	switch id.Bucket {
	case usersBucket:
		key, err = st.loadUser(payload)
	case keysBucket:
		key, err = st.loadKey(payload)
	case rolesBucket:
		var role Role
		err = vault.Decode(payload, &role)
		key, st.roles[role.Name] = role.Name, &role
	case policiesBucket:
		var p *Policy
		if p, err = parseStored("policy "+id.Key, payload); err == nil {
			key, st.policies[p.name] = p.name, p
		}
	case settingsBucket:
		var value string
		err = vault.Decode(payload, &value)
		key, st.settings[id.Key] = id.Key, value
	case invitesBucket:
		key, err = st.loadInvite(payload)
	case revokedBucket:
		key, err = st.loadRevoked(id.Key, payload)
	case anchorBucket:
		key, err = st.loadAnchor(payload)
	}
	if err == nil && key != id.Key {
		err = fmt.Errorf("the content belongs to %q", key)
	}
	return err
}

func (st *state) loadUser(payload []byte) (string, error) {
	var u User
	if err := vault.Decode(payload, &u); err != nil {
		return "", err
	}
	clean, err := u.clean()
	if err != nil {
		return "", err
	}
	if twin, ok := st.folded[foldName(u.Name)]; ok {
		return "", fmt.Errorf("user %q is there too", twin)
	}
	st.putUser(clean)
	return u.Name, nil
}

func (st *state) loadKey(payload []byte) (string, error) {
	var k Key
	if err := vault.Decode(payload, &k); err != nil {
		return "", err
	}
	clean, err := k.clean()
	if err != nil {
		return "", err
	}
	st.keys[k.Fingerprint] = clean
	return keyID(k.Fingerprint).Key, nil
}

func userID(name string) vault.ID   { return vault.ID{Bucket: usersBucket, Key: name} }
func roleID(name string) vault.ID   { return vault.ID{Bucket: rolesBucket, Key: name} }
func policyID(name string) vault.ID { return vault.ID{Bucket: policiesBucket, Key: name} }
func inviteID(id string) vault.ID   { return vault.ID{Bucket: invitesBucket, Key: id} }

func keyID(fp latchkey.Fingerprint) vault.ID {
	return vault.ID{Bucket: keysBucket, Key: string(fp.Bytes())}
}
