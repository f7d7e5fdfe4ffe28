package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
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
	Running bool `json:"running"` // into a daemon that serves, whose pairing modes are closed now
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
	a.done(acl.Event{Kind: acl.EventRestore, Detail: fmt.Sprintf("%d users, %d keys, %d stay revoked", out.Users, out.Keys, len(out.Revoked))}, err)
	switch {
	case errors.Is(err, acl.ErrDamaged), errors.Is(err, acl.ErrNewer):
		return out, admin.Fail(err, "restore a file that latchkeyd backup wrote, unchanged, with a version of latchkeyd that is as new", "%v", err)
	case errors.Is(err, acl.ErrLastAdmin):
		return out, admin.Fail(err, "nothing was changed; if that is what you want, run latchkeyd reset first", "%v", err)
	case err != nil:
		return out, a.advise(err, help{})
	}
	a.log.Warn("a backup was restored", "users", out.Users, "keys", out.Keys)
	if !a.running {
		return out, nil
	}
	return out, errors.Join(a.dev.ClosePairing(allModes), a.dev.SetName(a.config().Name))
}
