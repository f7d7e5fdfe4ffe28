package client

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/roster"
)

// TestUnusable: what no device takes is told with its cause, and before anything is
// sent; this connection could not.
func TestUnusable(t *testing.T) {
	var c Conn
	long := strings.Repeat("a", 129)
	key, err := latchkey.ParseFingerprint(strings.Repeat("a1", 32))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		try        func() error
	}{
		{"user", `user name "a b"`, func() error { _, err := c.AddUser(t.Context(), "a b", NewUser{}); return err }},
		{"key of a user", "a key name has at most 64 bytes", func() error {
			_, err := c.AddUser(t.Context(), "bob", NewUser{Key: key, KeyName: long})
			return err
		}},
		{"no key", "the name of a key, and no key", func() error { _, err := c.AddUser(t.Context(), "bob", NewUser{KeyName: "x"}); return err }},
		{"rename", `user name "b/c"`, func() error { _, err := c.RenameUser(t.Context(), "bob", "b/c", Terms{}); return err }},
		{"key", "cannot be seen", func() error { _, err := c.AddKey(t.Context(), "bob", key, NewKey{Name: "\x01"}, Terms{}); return err }},
		{"change", "at most 64 bytes", func() error {
			_, err := c.ChangeKey(t.Context(), "bob", key, KeyChange{Name: &long}, Terms{})
			return err
		}},
		{"invited", `user name "-"`, func() error { _, err := c.Invite(t.Context(), "-", "", 0); return err }},
		{"life", "within 90 days", func() error { _, err := c.Invite(t.Context(), "bob", "", 91*24*time.Hour); return err }},
		{"life behind", "in the future", func() error { _, err := c.Invite(t.Context(), "bob", "", -time.Second); return err }},
		{"device", "up to 128 bytes", func() error { return c.SetName(t.Context(), long) }},
	} {
		if err := test.try(); !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
	if maxInviteLife != roster.MaxInviteLife || maxDeviceName != roster.MaxName {
		t.Error("the client knows other limits than the device")
	}
}
