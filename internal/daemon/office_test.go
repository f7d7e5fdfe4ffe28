package daemon

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/audit"
	"github.com/latchkey-dev/latchkey/pairing"
)

// told returns the records of some kinds in the audit log of dir.
func told(t *testing.T, dir string, kinds ...acl.EventKind) (list []audit.Record) {
	t.Helper()
	for r, err := range ReadAudit(dir, audit.Filter{Kinds: kinds}) {
		check(t, err)
		list = append(list, r)
	}
	return list
}

// TestChangesAreAudited: each change and each refused one is one record, with and
// without a daemon, and the log holds afterwards.
func TestChangesAreAudited(t *testing.T) {
	for _, run := range []bool{false, true} {
		dir := initDir(t)
		stop := func() error { return nil }
		if run {
			stop = start(t, dir).stop
		}
		c, ctx := control(t, dir), t.Context()
		key := newKey(t)
		_, err := c.AddUser(ctx, NewUser{Name: "alice", Role: "admin", Key: &key})
		check(t, err)
		steps := []struct {
			kind    acl.EventKind
			outcome acl.Outcome
			do      func() error
		}{
			{acl.EventUser, acl.OutcomeOK, func() error { _, err := c.AddUser(ctx, NewUser{Name: "bob"}); return err }},
			{acl.EventUser, acl.OutcomeRefused, func() error { _, err := c.AddUser(ctx, NewUser{Name: "bob"}); return err }},
			{acl.EventUser, acl.OutcomeRefused, func() error { return c.RemoveUser(ctx, "alice", Terms{}) }},
			{acl.EventUser, acl.OutcomeOK, func() error { _, err := c.Rename(ctx, "bob", "rob", Terms{}); return err }},
			{acl.EventUser, acl.OutcomeOK, func() error { _, err := c.SetExpiry(ctx, "rob", time.Now().Add(time.Hour), Terms{}); return err }},
			{acl.EventUser, acl.OutcomeOK, func() error { _, err := c.SetPolicies(ctx, "rob", []string{"user"}, Terms{}); return err }},
			{acl.EventKey, acl.OutcomeOK, func() error { _, err := c.AddKey(ctx, NewKey{User: "rob", Fingerprint: newKey(t)}); return err }},
			{acl.EventKey, acl.OutcomeRefused, func() error { _, err := c.AddKey(ctx, NewKey{User: "rob", Fingerprint: key}); return err }},
			{acl.EventKey, acl.OutcomeOK, func() error { _, err := c.RenameKey(ctx, key, "phone", Terms{}); return err }},
			{acl.EventRole, acl.OutcomeOK, func() error {
				_, err := c.PutRole(ctx, acl.Role{Name: "kid", Includes: []string{"guest"}}, Terms{})
				return err
			}},
			{acl.EventRole, acl.OutcomeRefused, func() error { return c.RemoveRole(ctx, "guest", Terms{}) }},
			{acl.EventPolicy, acl.OutcomeOK, func() error {
				_, err := c.ApplyPolicies(ctx, Rulebook{Text: `{"name":"p","statements":[]}`})
				return err
			}},
			{acl.EventInvite, acl.OutcomeOK, func() error { _, err := c.Invite(ctx, NewInvite{User: "carol"}); return err }},
			{acl.EventInvite, acl.OutcomeRefused, func() error { return c.RemoveInvite(ctx, "x") }},
			{acl.EventToken, acl.OutcomeOK, func() error { _, err := c.NewToken(ctx); return err }},
			{acl.EventSettings, acl.OutcomeOK, func() error { return c.SetName(ctx, "kitchen") }},
			{acl.EventBackup, acl.OutcomeOK, func() error { _, err := c.Backup(ctx); return err }},
			{acl.EventRestore, acl.OutcomeFailed, func() error { _, err := c.Restore(ctx, []byte("no backup")); return err }},
			{acl.EventReset, acl.OutcomeOK, func() error { _, err := c.Reset(ctx); return err }},
		}
		want := map[acl.EventKind][]acl.Outcome{acl.EventUser: {acl.OutcomeOK}}
		for _, s := range steps {
			if err := s.do(); (err == nil) != (s.outcome == acl.OutcomeOK) {
				t.Fatalf("running %v, %s: %v, want %s", run, s.kind, err, s.outcome)
			}
			want[s.kind] = append(want[s.kind], s.outcome)
		}
		check(t, c.Close())
		check(t, stop()) // refusals are on disk a little later
		for kind, outcomes := range want {
			var got []acl.Outcome
			for _, r := range told(t, dir, kind) {
				if got = append(got, r.Outcome); !r.Console {
					t.Errorf("running %v: not by the console: %+v", run, r)
				}
			}
			slices.Sort(got)
			slices.Sort(outcomes)
			if !slices.Equal(got, outcomes) {
				t.Errorf("running %v: of kind %s %v, want %v", run, kind, got, outcomes)
			}
		}
		if r, err := VerifyAudit(ctx, dir); err != nil || r.Last < uint64(len(steps)) {
			t.Errorf("running %v: %+v, %v", run, r, err)
		}
	}
}

// TestLookingLeavesNothing: commands that change nothing write no audit log.
func TestLookingLeavesNothing(t *testing.T) {
	dir := initDir(t)
	before := contents(t, dir)
	c, ctx := control(t, dir), t.Context()
	for _, look := range []func() error{
		func() error { _, err := c.Users(ctx); return err },
		func() error { _, err := c.Roles(ctx); return err },
		func() error { _, err := c.Policies(ctx); return err },
		func() error { _, err := c.Invites(ctx); return err },
		func() error { _, err := c.Tokens(ctx); return err },
		func() error { _, err := c.Name(ctx); return err },
		func() error { _, err := c.PairingStatus(ctx); return err },
		func() error { _, err := c.Explain(ctx, Question{Action: acl.CoAPGet, Resource: "/x"}); return err },
		func() error {
			_, err := c.CheckPolicies(ctx, Rulebook{Text: `{"name":"p","statements":[]}`})
			return err
		},
	} {
		check(t, look())
	}
	check(t, c.Close())
	_, err := VerifyAudit(ctx, dir)
	check(t, err)
	if after := contents(t, dir); strings.Join(before, "") != strings.Join(after, "") {
		t.Error("a file was changed")
	}
}

// TestEditedAuditLog: an edit is named with file, line and record.
func TestEditedAuditLog(t *testing.T) {
	dir := initDir(t)
	c := control(t, dir)
	_, err := c.AddUser(t.Context(), NewUser{Name: "mallory"})
	check(t, err)
	check(t, c.Close())
	path := filepath.Join(dir, device.AuditFile)
	text, err := os.ReadFile(path)
	check(t, err)
	check(t, os.WriteFile(path, bytes.ReplaceAll(text, []byte("mallory"), []byte("nobody.")), 0o600))
	_, err = VerifyAudit(t.Context(), dir)
	var fault *audit.Fault
	if !errors.As(err, &fault) || fault.File != device.AuditFile || fault.Line != 2 || fault.N != 2 || fault.What != audit.Changed {
		t.Errorf("edited: %v", err)
	}
	check(t, os.Remove(path))
	if _, err = VerifyAudit(t.Context(), dir); !errors.As(err, &fault) || fault.What != audit.Cut {
		t.Errorf("removed: %v", err)
	}
}

// TestVersions: of two who have read the same, one is told.
func TestVersions(t *testing.T) {
	both(t, func(t *testing.T, c *Control) {
		ctx := t.Context()
		u, err := c.AddUser(ctx, NewUser{Name: "bob"})
		check(t, err)
		_, err = c.SetRole(ctx, "bob", "user", Terms{Version: u.Version})
		check(t, err)
		_, err = c.SetRole(ctx, "bob", "admin", Terms{Version: u.Version})
		wants(t, err, latchkey.ErrConflict, "look at it again")
	})
}

// TestPasswords: what is given opens the mode, and is nowhere afterwards.
func TestPasswords(t *testing.T) {
	dir := initDir(t)
	r := start(t, dir)
	c, ctx := control(t, dir), t.Context()
	const canary = "canary-canary"
	st, err := c.OpenPairing(ctx, pairing.PasswordOpen, time.Minute, latchkey.NewSecret(canary))
	if err != nil || st.URL != "" || strings.Join(st.Open, ",") != "local-initial,password-open" || st.Tries != pairing.MaxFailures {
		t.Fatalf("opened %+v, %v", st, err)
	}
	made, err := c.OpenPairing(ctx, pairing.PasswordOpen, 0, latchkey.Secret{})
	check(t, err)
	u, err := latchkey.ParsePairingURL(made.URL)
	if err != nil || len(u.Password.Reveal()) < 16 {
		t.Fatalf("URL %v, %v", u, err)
	}
	_, err = c.OpenPairing(ctx, pairing.LocalOpen, 0, latchkey.NewSecret(canary))
	wants(t, err, latchkey.ErrProtocol, "")
	check(t, r.stop())
	all := strings.Join(contents(t, dir), "\n") + r.log.String()
	if strings.Contains(all, canary) || strings.Contains(all, u.Password.Reveal()) {
		t.Error("a password is in a file or in the log")
	}
}

// TestRestoreIsBounded: what does not fit over the control socket is refused before.
func TestRestoreIsBounded(t *testing.T) {
	dir := initDir(t)
	start(t, dir)
	_, err := control(t, dir).Restore(t.Context(), bytes.Repeat([]byte("x"), admin.MaxMessage))
	wants(t, err, latchkey.ErrTooLarge, "stop the daemon")
}
