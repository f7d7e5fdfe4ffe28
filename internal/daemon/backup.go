package daemon

import (
	"bytes"
	"context"
	"encoding/json"
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
	"github.com/latchkey-dev/latchkey/pairing"
)

// A parcel is a backup on its way, without the white space that is for people.
type parcel struct {
	Content string `json:"content"`
}

// pack leaves what is no JSON as it is: the store says what is wrong with it. What
// goes over the control socket has to fit there.
func pack(text []byte, socket bool) (parcel, error) {
	var plain bytes.Buffer
	if json.Compact(&plain, text) == nil {
		text = plain.Bytes()
	}
	quoted, err := json.Marshal(string(text))
	if err != nil {
		return parcel{}, err
	}
	if socket && len(quoted) > admin.MaxMessage-64 {
		return parcel{}, admin.Fail(latchkey.ErrTooLarge, "stop the daemon and repeat the command", "the backup is too large for the control socket")
	}
	return parcel{string(text)}, nil
}

// A Restored says what came back, and where.
type Restored struct {
	acl.Restored
	Running   bool         `json:"running"`           // into a daemon that serves, whose pairing modes are closed now
	Ownerless bool         `json:"ownerless"`         // no administrator has a key
	Rebuilt   *acl.Rebuilt `json:"rebuilt,omitempty"` // into a new file; nil: into the one that was there
}

// Backup returns users, keys, roles, policies and settings as a document. It holds
// secrets.
func (c *Control) Backup(ctx context.Context) ([]byte, error) {
	p, err := admin.Call[parcel](ctx, c.backend, opBackup, admin.None{})
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, []byte(p.Content), "", "  "); err != nil {
		return nil, err
	}
	text.WriteByte('\n')
	return text.Bytes(), nil
}

// Restore puts what Backup returned in the place of what is there. Invitations are
// void, keys that were removed since stay out, and all pairing modes are closed.
func (c *Control) Restore(ctx context.Context, text []byte) (Restored, error) {
	_, files := c.backend.(*fileBackend)
	p, err := pack(text, !files)
	if err != nil {
		return Restored{}, err
	}
	return admin.Call[Restored](ctx, c.backend, opRestore, p)
}

// Restore is Control.Restore on dir. When no daemon runs and the store is missing or
// damaged, it makes a new one for the device's key: see acl.Rebuild.
func Restore(ctx context.Context, dir string, text []byte) (Restored, error) {
	c, err := OpenControl(ctx, dir)
	var broken *storeError
	if errors.As(err, &broken) {
		return rebuild(dir, text)
	}
	if err != nil {
		return Restored{}, err
	}
	out, err := c.Restore(ctx, text)
	return out, errors.Join(err, c.Close())
}

// rebuild leaves local-initial used up: what the file that is gone said of it is not
// certain, and a stranger is not to become the owner of a device that has one.
func rebuild(dir string, text []byte) (out Restored, err error) {
	var rebuilt acl.Rebuilt
	out.Restored, rebuilt, err = acl.Rebuild(filepath.Join(dir, device.AccessFile), bytes.NewReader(text), pairing.UseUp)
	if errors.Is(err, acl.ErrBackup) || errors.Is(err, acl.ErrNewer) {
		return out, badBackup(err)
	}
	if err != nil {
		return out, err
	}
	out.Rebuilt = &rebuilt
	a, err := openAdmin(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, a.closeAudit(), a.access.Close()) }()
	out.Ownerless = a.ownerless()
	if err := a.audited(); err != nil {
		return out, err
	}
	a.done(restoreEvent(out), nil)
	return out, nil
}

// WriteBackup writes a file that nobody else can read, all of it or nothing.
func WriteBackup(name string, text []byte, replace bool) error {
	if !replace {
		err := admin.WriteNew(name, text)
		if errors.Is(err, fs.ErrExist) {
			return admin.Fail(err, "choose another name, or repeat the command with --force", "%v", err)
		}
		return err
	}
	next := name + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := admin.WriteNew(next, text); err != nil {
		return err
	}
	return os.Rename(next, name)
}

func (a *administrator) backup(context.Context, admin.None) (out parcel, err error) {
	if err := a.audited(); err != nil {
		return out, err
	}
	var b bytes.Buffer
	if err = a.access.Backup(&b); err == nil {
		out, err = pack(b.Bytes(), a.running)
	}
	a.done(acl.Event{Kind: acl.EventBackup}, err)
	return out, err
}

func (a *administrator) restore(_ context.Context, in parcel) (out Restored, err error) {
	if err := a.audited(); err != nil {
		return out, err
	}
	out.Running = a.running
	out.Restored, err = a.access.Restore(strings.NewReader(in.Content))
	a.done(restoreEvent(out), err)
	switch {
	case errors.Is(err, acl.ErrBackup), errors.Is(err, acl.ErrNewer):
		return out, badBackup(err)
	case errors.Is(err, acl.ErrDamaged):
		return out, admin.Fail(err, "stop the daemon and repeat the command", "%v", err)
	case errors.Is(err, acl.ErrLastAdmin):
		return out, admin.Fail(err, "nothing was changed; if that is what you want, run latchkeyd reset first", "%v", err)
	case err != nil:
		return out, a.advise(err, help{})
	}
	out.Ownerless = a.ownerless()
	a.log.Warn("a backup was restored", "users", out.Users, "keys", out.Keys)
	if !a.running {
		return out, nil
	}
	return out, errors.Join(a.dev.ClosePairing(allModes), a.dev.SetName(a.config().Name))
}

// restoreEvent is what the audit log says of a restore.
func restoreEvent(out Restored) acl.Event {
	e := acl.Event{Kind: acl.EventRestore, Detail: fmt.Sprintf("%d users, %d keys, %d stay revoked", out.Users, out.Keys, len(out.Revoked))}
	if r := out.Rebuilt; r != nil {
		e.Detail += fmt.Sprintf("; into a new file, %d removed keys remembered", r.Removed)
		if r.Forgotten {
			e.Detail += ", others may be forgotten"
		}
		if r.Aside != "" {
			e.Object = filepath.Base(r.Aside)
		}
	}
	return e
}

func badBackup(err error) error {
	return admin.Fail(err, "restore a file that latchkeyd backup wrote, unchanged, with a version of latchkeyd that is as new", "%v", err)
}

// ownerless reports whether no administrator has a key.
func (a *administrator) ownerless() bool {
	owners := 0
	_ = a.access.View(func(tx *acl.Tx) error { // a store that cannot be read has none
		for _, u := range tx.Users() {
			if u.Role == acl.RoleAdmin {
				owners += len(tx.Keys(u.Name))
			}
		}
		return nil
	})
	return owners == 0
}
