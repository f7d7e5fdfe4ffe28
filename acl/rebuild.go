package acl

import (
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/latchkey-dev/latchkey/internal/vault"
)

// Rebuilt says what Rebuild could keep.
type Rebuilt struct {
	Aside     string `json:"aside,omitempty"` // the damaged file's new name; "": there was none
	Removed   int    `json:"removed"`         // keys that are still known to have been removed
	Forgotten bool   `json:"forgotten"`       // there may have been more of them
}

// Rebuild makes a store from what Backup wrote, in the place of a file that is
// missing or ErrDamaged. The damaged file is renamed to path.damaged-TIME. As far
// as it can still be read its list of removed keys goes on to hold, as do the
// settings that no backup has and the anchor of the audit log. also, if not nil,
// is part of the change. A file that is whole is fs.ErrExist, and every file is
// left as it is when Rebuild fails.
func Rebuild(path string, r io.Reader, also func(*Tx) error) (Restored, Rebuilt, error) {
	var done Restored
	var kept Rebuilt
	content, err := readBackup(r)
	if err != nil {
		return done, kept, fmt.Errorf("restore: %w", err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return done, kept, err
	}
	aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000Z")
	replaced, err := vault.Replace(path, aside, kind, newState().load, func(s vault.Salvage) (map[vault.ID]vault.Record, error) {
		tx := newTx(newState(), nil)
		if err := tx.keep(s, &kept); err != nil {
			return nil, err
		}
		if also != nil {
			if err := also(tx); err != nil {
				return nil, err
			}
		}
		if done, err = tx.restore(content); err != nil {
			return nil, err
		}
		return tx.changes, tx.state.check()
	})
	if err != nil {
		return Restored{}, Rebuilt{}, fmt.Errorf("restore: %w", err)
	}
	if replaced {
		kept.Aside = aside
	}
	return done, kept, nil
}

// keep takes over what a restore leaves as it is.
func (tx *Tx) keep(s vault.Salvage, kept *Rebuilt) error {
	kept.Forgotten = !s.Whole(revokedBucket)
	there := newState()
	for id, r := range s.Records {
		if id.Bucket != revokedBucket && id.Bucket != anchorBucket && (id.Bucket != settingsBucket || !isLocal(id.Key)) {
			continue
		}
		if there.loadOne(id, r.Payload()) != nil {
			kept.Forgotten = kept.Forgotten || id.Bucket == revokedBucket
		} else if id.Bucket == anchorBucket {
			tx.changes[id] = r
		}
	}
	for name, value := range there.settings {
		if err := tx.SetSetting(name, value); err != nil {
			return err
		}
	}
	for fp, r := range there.revoked {
		r.Change = 0 // changes are counted anew: all that come are later
		if err := tx.putRevocation(fp, r); err != nil {
			return err
		}
	}
	kept.Removed = len(there.revoked)
	return nil
}
