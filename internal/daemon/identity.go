package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/admin"
)

// A NewIdentity says what ResetIdentity did.
type NewIdentity struct {
	Reset
	Before      latchkey.Fingerprint `json:"before"`
	Fingerprint latchkey.Fingerprint `json:"fingerprint"`
	// Audit is the directory that has the audit log from before, which the old
	// key signed.
	Audit string `json:"audit"`
}

// nextKey is the new key until it takes the place of the old one.
const nextKey = device.KeyFile + ".next"

// ResetIdentity does what Reset does, and gives the device a new key: to all who
// knew it, it is another device. No daemon may run on dir.
func ResetIdentity(ctx context.Context, dir string) (out NewIdentity, err error) {
	if b, err := admin.Dial(ctx, dir); !errors.Is(err, admin.ErrNoDaemon) {
		if err == nil {
			err = b.Close()
		}
		return out, errors.Join(admin.Fail(nil, "stop the daemon and repeat the command", "a daemon runs on %s with the key that would go", dir), err)
	}
	a, err := openAdmin(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, a.closeAudit(), a.access.Close()) }()
	next := filepath.Join(dir, nextKey)
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, err // it is what an attempt left that did not come to its end
	}
	identity, err := latchkey.CreateIdentity(next)
	if err != nil {
		return out, err
	}
	out.Before, out.Fingerprint = a.key, identity.Fingerprint()
	if out.Reset, err = a.reset(ctx, admin.None{}); err != nil {
		return out, errors.Join(err, os.Remove(next))
	}
	if out.Audit, err = a.replaceKey(next, identity); err != nil {
		return out, err
	}
	return out, nil
}

// replaceKey ends the audit log of the old key, and begins that of the new one. Each
// tells of the other key.
func (a *administrator) replaceKey(next string, identity *latchkey.Identity) (kept string, err error) {
	before := a.key
	a.done(acl.Event{Kind: acl.EventIdentity, Object: before.String(), Detail: "replaced by " + identity.Fingerprint().String()}, nil)
	if err := a.closeAudit(); err != nil {
		return "", err
	}
	a.audit = nil
	if kept, err = a.setAuditAside(before); err != nil {
		return "", err
	}
	if err := a.access.SetAnchor(acl.Anchor{}); err != nil {
		return "", err
	}
	if err := os.Rename(next, filepath.Join(a.dir, device.KeyFile)); err != nil {
		return "", err
	}
	a.identity, a.key = identity, identity.Fingerprint()
	if err := a.audited(); err != nil {
		return "", err
	}
	a.done(acl.Event{Kind: acl.EventIdentity, Object: a.key.String(), Detail: "in place of " + before.String()}, nil)
	return kept, nil
}

// setAuditAside moves the audit log into a directory of its own.
func (a *administrator) setAuditAside(key latchkey.Fingerprint) (string, error) {
	kept := filepath.Join(a.dir, "audit-of-"+key.String()[:16])
	if err := os.MkdirAll(kept, 0o700); err != nil {
		return "", err
	}
	files, err := os.ReadDir(a.dir)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if f.IsDir() || !strings.HasPrefix(f.Name(), "audit") || !strings.HasSuffix(f.Name(), ".jsonl") {
			continue
		}
		if err := os.Rename(filepath.Join(a.dir, f.Name()), filepath.Join(kept, f.Name())); err != nil {
			return "", fmt.Errorf("keep the audit log: %w", err)
		}
	}
	return kept, nil
}
