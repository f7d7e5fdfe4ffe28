package acl

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

// A backup is the document that Backup writes.
type backup struct {
	Format   string          `json:"format"`
	Version  int             `json:"version"`
	Checksum string          `json:"checksum"` // SHA-256 of Content without white space, hexadecimal
	Content  json.RawMessage `json:"content"`
}

const backupFormat = "latchkey-access-backup"

// ErrBackup is the ErrDamaged of a backup.
var ErrBackup = fmt.Errorf("%w: this is no backup as one was written", ErrDamaged)

// backupContent is what a backup keeps.
type backupContent struct {
	Users    []User            `json:"users"`
	Keys     []Key             `json:"keys"`
	Roles    []Role            `json:"roles"`
	Policies []json.RawMessage `json:"policies"`
	Settings map[string]string `json:"settings"`
}

// Settings that say where this device stands, not what its owner wants: what
// pairing was used and how often it failed, tokens of pairing URLs, the clock. They
// are in no backup, and a restore leaves them as they are.
var localSettings = []string{"pairing.", "bootstrap-", "clock.", "local."}

func isLocal(setting string) bool {
	for _, prefix := range localSettings {
		if strings.HasPrefix(setting, prefix) {
			return true
		}
	}
	return false
}

// Backup writes users, keys, roles, policies and settings as one JSON document,
// all of one moment. Invitations, the list of removed keys and the state of
// pairing are not in it. It holds the secret behind connect tokens: keep it
// private.
func (s *Store) Backup(w io.Writer) error {
	var content backupContent
	err := s.View(func(tx *Tx) error {
		content = backupContent{Users: tx.Users(), Roles: tx.Roles(), Settings: make(map[string]string)}
		content.Keys = sorted(tx.state.keys, (*Key).clone, orderKeys)
		for _, p := range tx.Policies() {
			text, err := json.Marshal(p)
			if err != nil {
				return err
			}
			content.Policies = append(content.Policies, text)
		}
		for name, value := range tx.state.settings {
			if !isLocal(name) {
				content.Settings[name] = value
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	document, err := json.MarshalIndent(backup{backupFormat, Version, checksumOf(text), text}, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(document, '\n'))
	return err
}

// Restored says what a restore brought back.
type Restored struct {
	Users    int `json:"users"`
	Keys     int `json:"keys"`
	Roles    int `json:"roles"`
	Policies int `json:"policies"`
	Settings int `json:"settings"`
	// Revoked are keys of the backup that were removed here. They stay out.
	Revoked []latchkey.Fingerprint `json:"revoked,omitempty"`
}

// Restore puts what Backup wrote in the place of all users, keys, roles, policies
// and settings, in one change; invitations are void. Keys that were removed here
// since do not come back, and the state of pairing and the anchor of the audit log
// stay. A backup that is not what was written is ErrDamaged, one of a later
// version ErrNewer, and one without an administrator, where there is one now,
// ErrLastAdmin; nothing is changed then.
func (s *Store) Restore(r io.Reader) (Restored, error) {
	content, err := readBackup(r)
	if err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	var done Restored
	if err := s.Update(func(tx *Tx) (err error) { done, err = tx.restore(content); return err }); err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	return done, nil
}

// readBackup checks a document before anything of it is used.
func readBackup(r io.Reader) (*backupContent, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxFile {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrBackup, MaxFile)
	}
	var first struct {
		Format  string
		Version int
	}
	if err := json.Unmarshal(text, &first); err != nil || first.Format != backupFormat || first.Version < 1 {
		return nil, fmt.Errorf("%w: it does not begin as one does", ErrBackup)
	}
	if first.Version > Version {
		return nil, fmt.Errorf("%w: format %d, and this version reads up to %d; update Latchkey", ErrNewer, first.Version, Version)
	}
	var document backup
	if err := vault.Decode(text, &document); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	var plain bytes.Buffer
	if err := json.Compact(&plain, document.Content); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	if checksumOf(plain.Bytes()) != document.Checksum {
		return nil, fmt.Errorf("%w: it does not have its checksum", ErrBackup)
	}
	var content backupContent
	if err := vault.Decode(document.Content, &content); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	return &content, nil
}

// checksumOf is the checksum of a content without white space.
func checksumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// restore replaces what backups keep.
func (tx *Tx) restore(c *backupContent) (Restored, error) {
	keys, revoked := tx.admissible(c.Keys)
	done := Restored{
		Users: len(c.Users), Keys: len(keys), Roles: len(c.Roles), Policies: len(c.Policies), Settings: len(c.Settings),
		Revoked: revoked,
	}
	if err := tx.clear(); err != nil {
		return done, err
	}
	for _, text := range c.Policies {
		p, err := parseStored("backup", text)
		if err == nil {
			err = tx.PutPolicy(p)
		}
		if err != nil {
			return done, err
		}
	}
	return done, errors.Join(
		each(c.Roles, tx.PutRole), each(c.Users, tx.restoreUser), each(keys, tx.restoreKey), tx.restoreSettings(c.Settings))
}

// each calls put for all of list, until one fails.
func each[T any](list []T, put func(T) error) error {
	for _, v := range list {
		if err := put(v); err != nil {
			return err
		}
	}
	return nil
}

// admissible splits keys into those that may come back and those that were removed
// here.
func (tx *Tx) admissible(keys []Key) (in []Key, revoked []latchkey.Fingerprint) {
	for _, k := range keys {
		if _, ok := tx.Revoked(k.Fingerprint); ok {
			revoked = append(revoked, k.Fingerprint)
		} else {
			in = append(in, k)
		}
	}
	return in, revoked
}

// clear removes all that a backup replaces, and the invitations. Keys go without
// being put on the list of removed ones: another backup may bring them back.
func (tx *Tx) clear() error {
	st := tx.state
	var err error
	for fp := range st.keys {
		err = errors.Join(err, tx.drop(keyID(fp), func(st *state) { delete(st.keys, fp) }))
	}
	for name := range st.users {
		err = errors.Join(err, tx.drop(userID(name), func(st *state) { st.dropUser(name) }))
	}
	for name := range st.roles {
		err = errors.Join(err, tx.drop(roleID(name), func(st *state) { delete(st.roles, name) }))
	}
	for name := range st.policies {
		err = errors.Join(err, tx.drop(policyID(name), func(st *state) { delete(st.policies, name) }))
	}
	for id := range st.invites {
		err = errors.Join(err, tx.RemoveInvite(id))
	}
	for name := range st.settings {
		if !isLocal(name) {
			err = errors.Join(err, tx.RemoveSetting(name))
		}
	}
	return err
}

// restoreUser takes a user as the store that it comes from had it.
func (tx *Tx) restoreUser(u User) error {
	if twin, ok := tx.state.folded[foldName(u.Name)]; ok {
		return fmt.Errorf("user %q: there is %q: %w", u.Name, twin, latchkey.ErrConflict)
	}
	return tx.putUser(u)
}

func (tx *Tx) restoreKey(k Key) error {
	if tx.state.keys[k.Fingerprint] != nil {
		return fmt.Errorf("key %s: it is there twice: %w", k.Fingerprint, latchkey.ErrConflict)
	}
	return tx.putKey(k)
}

func (tx *Tx) restoreSettings(settings map[string]string) error {
	for name, value := range settings {
		if isLocal(name) {
			continue
		}
		if err := tx.SetSetting(name, value); err != nil {
			return err
		}
	}
	return nil
}
