package device_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/audit"
	"github.com/latchkey-dev/latchkey/pairing"
)

// TestAuditFile reads afterwards what a device has done.
func TestAuditFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "device")
	b := newBed(t, func(d *device.Device) {
		d.Dir, d.Identity, d.Access, d.Audit, d.Pairing = dir, nil, nil, nil, pairing.LocalInitial
	})
	if _, err := b.client.Pair(b.ctx(), b.info.PairingURL, client.PairOptions{Alias: "mine", User: "ada"}); err != nil {
		t.Fatal(err)
	}
	conn := b.dial()
	if _, err := b.login(conn, "no token"); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("no token: %v", err)
	}
	if _, err := conn.Tunnel(b.ctx(), "nothing"); !errors.Is(err, latchkey.ErrNotFound) {
		t.Errorf("tunnel: %v", err)
	}
	if err := b.ClosePairing(pairing.LocalOpen); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	seen := make(map[acl.EventKind][]acl.Outcome)
	for r, err := range audit.Read(dir, audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		seen[acl.EventKind(r.Kind)] = append(seen[acl.EventKind(r.Kind)], acl.Outcome(r.Outcome))
	}
	for kind, want := range map[acl.EventKind]acl.Outcome{
		acl.EventStart: acl.OutcomeOK, acl.EventStop: acl.OutcomeOK, acl.EventSession: acl.OutcomeOK, acl.EventPair: acl.OutcomeOK,
		acl.EventToken: acl.OutcomeRefused, acl.EventAccess: acl.OutcomeOK, acl.EventMode: acl.OutcomeOK,
	} {
		if len(seen[kind]) == 0 || seen[kind][0] != want {
			t.Errorf("events of %s: %v, want %s", kind, seen[kind], want)
		}
	}
	id, err := latchkey.OpenOrCreateIdentity(filepath.Join(dir, device.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	store, err := acl.Open(filepath.Join(dir, device.AccessFile))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if report, err := audit.Verify(dir, id.Public(), store.Anchor()); err != nil || report.Last == 0 || report.Anchored != report.Last {
		t.Errorf("%+v, %v", report, err)
	}
}
