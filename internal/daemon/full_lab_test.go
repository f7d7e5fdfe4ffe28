//go:build lab && linux

package daemon

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// TestRevokeOnAFullDisk: what is taken away is gone at once, the command fails, and says
// that a restart would undo it. Afterwards it is done by repeating the command.
func TestRevokeOnAFullDisk(t *testing.T) {
	small := shortDir(t)
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
		t.Fatal(err) // it takes root
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
	dir := filepath.Join(small, "d")
	_, err := Init(Setup{Dir: dir, Listen: "127.0.0.1:0"})
	check(t, err)
	edit(t, dir, "discovery: true", "discovery: false")
	r := start(t, dir)
	c, ctx := control(t, dir), t.Context()
	alice, bob := newKey(t), newKey(t)
	_, err = c.AddUser(ctx, NewUser{Name: "alice", Role: "admin", Key: &alice})
	check(t, err)
	_, err = c.AddUser(ctx, NewUser{Name: "bob", Role: "user", Key: &bob})
	check(t, err)
	ballast := fill(t, small)

	// Small changes find room in the file itself, so this is a large one.
	narrow := Rulebook{File: "narrow", Text: `{"name": "user", "statements": [` + strings.Repeat(`{"effect": "deny", "actions": ["*"], "resources": ["**", "/`+
		strings.Repeat("x", 500)+`"]},`, 250) + `{"effect": "deny", "actions": ["*"], "resources": ["**"]}]}`}
	_, failed := c.ApplyPolicies(ctx, narrow)
	wants(t, failed, nil, "make room on the disk")
	if !strings.Contains(failed.Error(), "until this process ends") || !strings.Contains(failed.Error(), "a restart would undo") {
		t.Errorf("told %v", failed)
	}
	if e := explained(ctx, t, c, bob); e.Allowed {
		t.Errorf("bob still may: %+v", e)
	}
	if e := explained(ctx, t, c, alice); !e.Allowed {
		t.Errorf("alice may not: %+v", e)
	}
	check(t, os.Remove(ballast))
	_, err = c.ApplyPolicies(ctx, narrow)
	check(t, err)
	check(t, c.Close())
	check(t, r.stop())
	c = control(t, dir)
	if e := explained(ctx, t, c, bob); e.Allowed {
		t.Errorf("after a restart bob may: %+v", e)
	}
	check(t, c.Close())
	if _, err := VerifyAudit(ctx, dir); err != nil {
		t.Error(err)
	}
}

// explained asks what a key may do.
func explained(ctx context.Context, t *testing.T, c *Control, key latchkey.Fingerprint) Explanation {
	t.Helper()
	e, err := c.Explain(ctx, Question{Key: &key, Action: acl.CoAPGet, Resource: "/light"})
	check(t, err)
	return e
}

// fill leaves no room in dir.
func fill(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	check(t, err)
	defer f.Close()
	for _, size := range []int{1 << 16, 1 << 12, 1} {
		for block := bytes.Repeat([]byte("x"), size); err == nil; {
			_, err = f.Write(block)
		}
		err = nil
	}
	return path
}
