package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/pairing"
)

// both runs a test on the files and on a running daemon: a command means the
// same either way.
func both(t *testing.T, test func(t *testing.T, c *Control)) {
	t.Run("files", func(t *testing.T) {
		test(t, control(t, initDir(t, "ssh=tcp://127.0.0.1:22", "dns=udp://127.0.0.1:53")))
	})
	t.Run("socket", func(t *testing.T) {
		dir := initDir(t, "ssh=tcp://127.0.0.1:22", "dns=udp://127.0.0.1:53")
		start(t, dir)
		test(t, control(t, dir))
	})
}

// wants fails unless err is an admin.Error that matches target and advises next.
func wants(t *testing.T, err, target error, next string) {
	t.Helper()
	var e *admin.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want a *admin.Error", err, err)
	}
	if target != nil && !errors.Is(err, target) {
		t.Errorf("error %v does not match %v", err, target)
	}
	if !strings.Contains(e.Next, next) {
		t.Errorf("next step %q does not contain %q", e.Next, next)
	}
}

func TestUsers(t *testing.T) {
	both(t, func(t *testing.T, c *Control) {
		ctx := t.Context()
		if list, err := c.Users(ctx); err != nil || len(list) != 0 {
			t.Fatalf("users of a new device: %v, %v", list, err)
		}
		first, second := newKey(t), newKey(t)
		u, err := c.AddUser(ctx, NewUser{Name: "alice", Role: "admin", Key: &first, KeyName: "laptop"})
		if err != nil {
			t.Fatal(err)
		}
		if u.Name != "alice" || u.Role != "admin" || len(u.Keys) != 1 || u.Keys[0].Fingerprint != first ||
			u.Keys[0].Name != "laptop" || u.Keys[0].Origin != "manual" {
			t.Errorf("added %+v", u)
		}
		if u, err = c.AddUser(ctx, NewUser{Name: "alice", Key: &second}); err != nil || len(u.Keys) != 2 {
			t.Errorf("second key: %+v, %v", u, err)
		}
		if u, err = c.AddUser(ctx, NewUser{Name: "bob"}); err != nil || u.Role != DefaultRole {
			t.Errorf("user without role and key: %+v, %v", u, err)
		}
		list, err := c.Users(ctx)
		if err != nil || len(list) != 2 || list[0].Name != "alice" || list[1].Name != "bob" {
			t.Errorf("list: %+v, %v", list, err)
		}
		if _, err := c.SetRole(ctx, "bob", "user", Terms{}); err != nil {
			t.Error(err)
		}
		if u, err = c.User(ctx, "bob"); err != nil || u.Role != "user" {
			t.Errorf("bob: %+v, %v", u, err)
		}
		if err := c.RemoveKey(ctx, second, Terms{}); err != nil {
			t.Error(err)
		}
		if err := c.RemoveUser(ctx, "bob", Terms{}); err != nil {
			t.Error(err)
		}
		st, err := c.Status(ctx)
		if err != nil || st.Users != 1 || st.Keys != 1 {
			t.Errorf("status: %+v, %v", st, err)
		}
	})
}

func TestUserMistakes(t *testing.T) {
	both(t, func(t *testing.T, c *Control) {
		ctx := t.Context()
		key, other := newKey(t), newKey(t)
		if _, err := c.AddUser(ctx, NewUser{Name: "alice", Role: "admin", Key: &key}); err != nil {
			t.Fatal(err)
		}
		before, err := c.Users(ctx)
		if err != nil {
			t.Fatal(err)
		}
		tests := []struct {
			name   string
			err    func() error
			target error
			next   string
		}{
			{"show nobody", func() error { _, err := c.User(ctx, "eve"); return err }, latchkey.ErrNotFound, "user list"},
			{"remove nobody", func() error { return c.RemoveUser(ctx, "eve", Terms{}) }, latchkey.ErrNotFound, "user list"},
			{"role of nobody", func() error { _, err := c.SetRole(ctx, "eve", "user", Terms{}); return err }, latchkey.ErrNotFound, "user list"},
			{"remove no key", func() error { return c.RemoveKey(ctx, other, Terms{}) }, latchkey.ErrNotFound, "user list"},
			{"unknown role", func() error { _, err := c.AddUser(ctx, NewUser{Name: "eve", Role: "boss"}); return err }, latchkey.ErrNotFound, ""},
			{"set unknown role", func() error { _, err := c.SetRole(ctx, "alice", "boss", Terms{}); return err }, latchkey.ErrNotFound, ""},
			{"there already", func() error { _, err := c.AddUser(ctx, NewUser{Name: "alice"}); return err }, latchkey.ErrConflict, "user add alice --key"},
			{"other role", func() error {
				_, err := c.AddUser(ctx, NewUser{Name: "alice", Role: "guest", Key: &other})
				return err
			}, latchkey.ErrConflict, "user role alice guest"},
			{"somebody's key", func() error { _, err := c.AddUser(ctx, NewUser{Name: "eve", Key: &key}); return err }, latchkey.ErrConflict, "key remove"},
			{"last administrator", func() error { return c.RemoveUser(ctx, "alice", Terms{}) }, nil, "--force"},
			{"last administrator's role", func() error { _, err := c.SetRole(ctx, "alice", "user", Terms{}); return err }, nil, "--force"},
			{"last administrator's key", func() error { return c.RemoveKey(ctx, key, Terms{}) }, nil, "--force"},
		}
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) { wants(t, test.err(), test.target, test.next) })
		}
		after, err := c.Users(ctx)
		if err != nil || !reflect.DeepEqual(before, after) {
			t.Errorf("mistakes changed %+v to %+v (%v)", before, after, err)
		}
		if err := c.RemoveUser(ctx, "alice", Terms{Force: true}); err != nil {
			t.Errorf("with force: %v", err)
		}
	})
}

func TestStatusAndServices(t *testing.T) {
	both(t, func(t *testing.T, c *Control) {
		st, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.Name != "test" || st.ID != latchkey.DefaultDeviceID(st.Fingerprint) || !slices.Equal(st.Pairing, []string{"local-initial"}) {
			t.Errorf("status %+v", st)
		}
		_, files := c.backend.(*fileBackend)
		running := !files
		if st.Running != running || (st.PID != 0) != running || st.Since.IsZero() == running {
			t.Errorf("running %v, process %d, since %v", st.Running, st.PID, st.Since)
		}
		list, err := c.Services(t.Context())
		if err != nil || len(list) != 2 || list[0].ID != "dns" || list[1].Target != "tcp://127.0.0.1:22" {
			t.Errorf("services %+v, %v", list, err)
		}
		text, err := c.PairingURL(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		u, err := latchkey.ParsePairingURL(text)
		if err != nil || u.Key != st.Fingerprint || u.ID != st.ID || (len(u.Addrs) == 1) != running {
			t.Errorf("pairing URL %v, %v", u, err)
		}
	})
}

func TestExplain(t *testing.T) {
	both(t, func(t *testing.T, c *Control) {
		ctx := t.Context()
		key, guestKey := newKey(t), newKey(t)
		for _, u := range []NewUser{{Name: "alice", Role: "admin", Key: &key}, {Name: "bob", Role: "guest", Key: &guestKey}} {
			if _, err := c.AddUser(ctx, u); err != nil {
				t.Fatal(err)
			}
		}
		stranger := newKey(t)
		tests := []struct {
			q       Question
			allowed bool
			role    string
		}{
			{Question{User: "alice", Action: acl.TunnelOpen, Resource: "ssh"}, true, "admin"},
			{Question{Key: &key, Action: acl.TunnelOpen, Resource: "ssh"}, true, "admin"},
			{Question{User: "bob", Action: acl.TunnelOpen, Resource: "ssh"}, false, "guest"},
			{Question{User: "bob", Action: acl.CoAPGet, Resource: "/device/info"}, true, "guest"},
			{Question{Key: &stranger, Action: acl.CoAPGet, Resource: "/device/info"}, false, "unpaired"},
			{Question{Action: acl.CoAPGet, Resource: "/device/info"}, false, "unpaired"},
			{Question{User: "alice", Key: &guestKey, Action: acl.CoAPGet, Resource: "/device/info"}, false, "guest"},
		}
		for _, test := range tests {
			e, err := c.Explain(ctx, test.q)
			if err != nil || e.Allowed != test.allowed || e.Role != test.role || e.Reason == "" {
				t.Errorf("%+v: %+v, %v", test.q, e, err)
			}
		}
		if e, err := c.Explain(ctx, Question{User: "eve", Action: acl.CoAPGet, Resource: "/device/info"}); !errors.Is(err, latchkey.ErrNotFound) {
			t.Errorf("a user that is not there: %+v, %v", e, err)
		}
	})
}

func TestReset(t *testing.T) {
	both(t, func(t *testing.T, c *Control) {
		ctx := t.Context()
		for i, role := range []string{"admin", "guest"} {
			key := newKey(t)
			if _, err := c.AddUser(ctx, NewUser{Name: fmt.Sprint("u", i), Role: role, Key: &key}); err != nil {
				t.Fatal(err)
			}
		}
		if st, err := c.PairingStatus(ctx); err != nil || len(st.Open) != 0 {
			t.Errorf("an owned device is open to %v (%v)", st.Open, err)
		}
		gone, err := c.Reset(ctx)
		if err != nil || gone != (Reset{Users: 2, Keys: 2}) {
			t.Errorf("reset %+v, %v", gone, err)
		}
		if list, err := c.Users(ctx); err != nil || len(list) != 0 {
			t.Errorf("left %+v, %v", list, err)
		}
		if st, err := c.PairingStatus(ctx); err != nil || !slices.Equal(st.Open, []string{"local-initial"}) {
			t.Errorf("after the reset %+v is open (%v)", st, err)
		}
	})
}

func TestPairingOnFiles(t *testing.T) {
	c := control(t, initDir(t))
	_, err := c.OpenPairing(t.Context(), pairing.LocalInitial, 0, latchkey.Secret{})
	wants(t, err, nil, ConfigFile)
	_, err = c.ClosePairing(t.Context(), pairing.LocalInitial)
	wants(t, err, nil, ConfigFile)
}

func TestPairingOnDaemon(t *testing.T) {
	dir := initDir(t)
	start(t, dir)
	c, ctx := control(t, dir), t.Context()
	step := func(name string, want string, f func(context.Context) (PairingStatus, error)) {
		t.Helper()
		st, err := f(ctx)
		if err != nil || strings.Join(st.Open, ",") != want || !slices.Equal(st.Configured, []string{"local-initial"}) {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
	}
	step("at the start", "local-initial", c.PairingStatus)
	step("closed", "", func(ctx context.Context) (PairingStatus, error) { return c.ClosePairing(ctx, pairing.LocalInitial) })
	step("opened", "local-initial", func(ctx context.Context) (PairingStatus, error) {
		st, err := c.OpenPairing(ctx, pairing.LocalInitial, 1e12, latchkey.Secret{})
		return st.PairingStatus, err
	})
	key := newKey(t)
	if _, err := c.AddUser(ctx, NewUser{Name: "alice", Role: "admin", Key: &key}); err != nil {
		t.Fatal(err)
	}
	_, err := c.OpenPairing(ctx, pairing.LocalInitial, 0, latchkey.Secret{})
	wants(t, err, latchkey.ErrConflict, "user add")
}

// TestOperationsAreStrict: what is not exactly an argument is refused.
func TestOperationsAreStrict(t *testing.T) {
	both(t, func(t *testing.T, c *Control) {
		for _, test := range []struct{ op, in string }{
			{"nonsense", "{}"},
			{opUserList, ""},
			{opUserList, "null x"},
			{opUserList, `{"extra":1}`},
			{opUserShow, `{"name":"a"} {"name":"b"}`},
			{opUserAdd, `{"name":"a","key":"00"}`},
			{opPairingOpen, `{"mode":"open"}`},
			{opStatus, strings.Repeat(" ", admin.MaxMessage+1)},
		} {
			if out, err := c.backend.Do(t.Context(), test.op, []byte(test.in)); err == nil {
				t.Errorf("%s with %.40q was answered %q", test.op, test.in, out)
			}
		}
	})
}
