package station

import (
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/internal/admin"
)

// both runs a test on the files and on a running basestation: a command means
// the same either way.
func both(t *testing.T, test func(t *testing.T, c *Control)) {
	t.Run("files", func(t *testing.T) { test(t, control(t, initDir(t))) })
	t.Run("socket", func(t *testing.T) {
		dir := initDir(t)
		start(t, dir)
		test(t, control(t, dir))
	})
}

func gw(name string) latchkey.DeviceID { return latchkey.DeviceID{Product: "acme", Device: name} }

func TestDevices(t *testing.T) {
	both(t, func(t *testing.T, c *Control) {
		ctx := t.Context()
		if list, err := c.Devices(ctx); err != nil || list == nil || len(list) != 0 {
			t.Fatalf("devices of a new basestation: %v, %v", list, err)
		}
		first, second := newKey(t), newKey(t)
		d, err := c.AddDevice(ctx, gw("gw1"), first)
		if err != nil || d.ID != gw("gw1") || len(d.Keys) != 1 || d.Keys[0].Fingerprint != first || d.Keys[0].Origin != "manual" ||
			time.Since(d.Added) > time.Minute || d.Attached != nil {
			t.Errorf("added %+v, %v", d, err)
		}
		_, err = c.AddDevice(ctx, gw("gw2"), first)
		wants(t, err, latchkey.ErrConflict, "device show acme/gw1")
		if d, err = c.AddDevice(ctx, gw("gw1"), second); err != nil || len(d.Keys) != 2 {
			t.Errorf("with a second key %+v, %v", d, err)
		}
		if d, err = c.Device(ctx, gw("gw1")); err != nil || len(d.Keys) != 2 {
			t.Errorf("shown %+v, %v", d, err)
		}
		_, err = c.Device(ctx, gw("gw2"))
		wants(t, err, latchkey.ErrNotFound, "device list")
		wants(t, c.RemoveDevice(ctx, gw("gw2")), latchkey.ErrNotFound, "device list")
		check(t, c.RemoveDevice(ctx, gw("gw1")))
		if list, err := c.Devices(ctx); err != nil || len(list) != 0 {
			t.Errorf("after the removal: %v, %v", list, err)
		}
	})
}

func TestTokens(t *testing.T) {
	both(t, func(t *testing.T, c *Control) {
		ctx := t.Context()
		if list, err := c.Tokens(ctx); err != nil || list == nil || len(list) != 0 {
			t.Fatalf("tokens of a new basestation: %v, %v", list, err)
		}
		key := newKey(t)
		made, err := c.CreateToken(ctx, NewToken{
			Scope: Scope{Product: "acme", Device: "gw1"}, Key: key, Expires: "1h", Uses: 3, Note: "for Bob",
		})
		check(t, err)
		if _, err := latchkey.ParseConnectToken(made.Secret); err != nil {
			t.Errorf("token %q: %v", made.Secret, err)
		}
		if left := time.Until(made.Expires); left < 59*time.Minute || left > time.Hour || made.ID == "" {
			t.Errorf("made %+v", made)
		}
		list, err := c.Tokens(ctx)
		if err != nil || len(list) != 1 || list[0] != made.Token || list[0].Key != key || list[0].Uses != 3 || list[0].Note != "for Bob" {
			t.Errorf("tokens %+v, %v", list, err)
		}
		for _, bad := range []NewToken{
			{},
			{Scope: Scope{Product: "Acme"}},
			{Scope: Scope{Product: "acme"}, Uses: -1},
			{Scope: Scope{Product: "acme"}, Expires: "-1h"},
			{Scope: Scope{Product: "acme"}, Expires: "soon"},
			{Scope: Scope{Product: "acme"}, Note: strings.Repeat("x", 1000)},
		} {
			if made, err := c.CreateToken(ctx, bad); err == nil {
				t.Errorf("%+v made %+v", bad, made.Token)
			}
		}
		wants(t, c.RevokeToken(ctx, "nonsense"), latchkey.ErrNotFound, "token list")
		check(t, c.RevokeToken(ctx, made.ID))
		if list, err := c.Tokens(ctx); err != nil || len(list) != 0 {
			t.Errorf("after the revocation: %v, %v", list, err)
		}
	})
}

func TestStatus(t *testing.T) {
	both(t, func(t *testing.T, c *Control) {
		_, err := c.AddDevice(t.Context(), gw("gw1"), newKey(t))
		check(t, err)
		st, err := c.Status(t.Context())
		if err != nil || st.Fingerprint.IsZero() || st.Devices != 1 || st.Tokens != 0 {
			t.Errorf("status %+v, %v", st, err)
		}
		_, files := c.backend.(*administrator)
		if st.Running == files || (st.PID == 0) != files || (st.Serving == nil) != files || strings.HasSuffix(st.Listen, ":0") != files {
			t.Errorf("status %+v", st)
		}
	})
}

// TestOperationsAreStrict: what is not exactly an argument is refused.
func TestOperationsAreStrict(t *testing.T) {
	both(t, func(t *testing.T, c *Control) {
		for _, test := range []struct{ op, in string }{
			{"nonsense", "{}"},
			{opDeviceList, ""},
			{opDeviceList, `{"extra":1}`},
			{opDeviceShow, `{"id":"acme"}`},
			{opDeviceAdd, `{"id":"acme/gw1","key":"00"}`},
			{opDeviceAdd, `{"id":"acme/gw1"}`},
			{opDeviceAdd, `{"key":"` + newKey(t).String() + `"}`},
			{opTokenRevoke, `{"id":"a"} {"id":"b"}`},
			{opEventTail, `{"after":-1}`},
			{opStatus, strings.Repeat(" ", admin.MaxMessage+1)},
		} {
			if out, err := c.backend.Do(t.Context(), test.op, []byte(test.in)); err == nil {
				t.Errorf("%s with %.40q was answered %q", test.op, test.in, out)
			}
		}
	})
}

func TestEventsOfFiles(t *testing.T) {
	c := control(t, initDir(t))
	_, err := c.Events(t.Context())
	wants(t, err, nil, "latchkey-basestation run")
	err = c.Follow(t.Context(), func(basestation.Event) error { return nil })
	wants(t, err, nil, "latchkey-basestation run")
}
