package daemon

import (
	"context"
	"encoding/hex"
	"iter"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/audit"
)

// What the audit log is made of.
type (
	Record = audit.Record
	Filter = audit.Filter
	Fault  = audit.Fault
)

// EventKinds are the kinds of records.
var EventKinds = []acl.EventKind{
	acl.EventStart, acl.EventStop, acl.EventAttach, acl.EventSession, acl.EventAccess, acl.EventRevoke, acl.EventPair, acl.EventMode,
	acl.EventInvite, acl.EventUser, acl.EventKey, acl.EventRole, acl.EventPolicy, acl.EventToken, acl.EventSettings, acl.EventIdentity,
	acl.EventBackup, acl.EventRestore, acl.EventReset, acl.EventClock, acl.EventAuditLost, audit.KindCheckpoint,
}

// anchor is an acl.Anchor on its way.
type anchor struct {
	Count uint64 `json:"count"`
	Head  string `json:"head"` // hexadecimal
}

// Anchor says how long the audit log must be, and what its last record is.
func (c *Control) Anchor(ctx context.Context) (out acl.Anchor, err error) {
	in, err := admin.Call[anchor](ctx, c.backend, opAuditAnchor, admin.None{})
	if err != nil {
		return out, err
	}
	out.Count = in.Count
	_, err = hex.Decode(out.Head[:], []byte(in.Head[:min(len(in.Head), 2*len(out.Head))]))
	return out, err
}

func (a *administrator) anchor(context.Context, admin.None) (anchor, error) {
	now := a.access.Anchor()
	return anchor{now.Count, hex.EncodeToString(now.Head[:])}, nil
}

// VerifyAudit follows the audit log of dir from its oldest record to its newest. Its
// error is an *audit.Fault when the log is not what the device wrote.
func VerifyAudit(ctx context.Context, dir string) (audit.Report, error) {
	c, err := OpenControl(ctx, dir)
	if err != nil {
		return audit.Report{}, err
	}
	end, err := c.Anchor(ctx) // before the log is read, which may be written meanwhile
	_ = c.Close()             // nothing was changed
	if err != nil {
		return audit.Report{}, err
	}
	identity, err := OpenIdentity(dir)
	if err != nil {
		return audit.Report{}, err
	}
	return audit.Verify(dir, identity.Public(), end)
}

// ReadAudit returns the chosen records of the audit log of dir, oldest first.
func ReadAudit(dir string, f Filter) iter.Seq2[Record, error] { return audit.Read(dir, f) }
