package device_test

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
)

// TestIssuerNarrows: what an issuer is good for changes under those who have logged
// in by it.
func TestIssuerNarrows(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*device.TokenIssuer)
		want   error // of what the role user may do and guest may not
		role   string
	}{
		"nothing":       {func(*device.TokenIssuer) {}, nil, acl.RoleUser},
		"other roles":   {func(i *device.TokenIssuer) { i.Roles["x"] = acl.RoleAdmin }, nil, acl.RoleUser},
		"less":          {func(i *device.TokenIssuer) { i.Roles["ops"] = acl.RoleGuest }, latchkey.ErrForbidden, acl.RoleGuest},
		"a role gone":   {func(i *device.TokenIssuer) { delete(i.Roles, "ops") }, latchkey.ErrUnpaired, ""},
		"no such role":  {func(i *device.TokenIssuer) { i.Roles["ops"] = "nonesuch" }, latchkey.ErrUnpaired, ""},
		"another claim": {func(i *device.TokenIssuer) { i.RoleClaim = "group" }, latchkey.ErrForbidden, acl.RoleGuest},
		"audience":      {func(i *device.TokenIssuer) { i.Audience = "acme/other" }, latchkey.ErrUnpaired, ""},
		"algorithms":    {func(i *device.TokenIssuer) { i.Algorithms = []string{"PS256"} }, latchkey.ErrUnpaired, ""},
		"keys":          {func(i *device.TokenIssuer) { i.JWKS += "/others" }, latchkey.ErrUnpaired, ""},
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			mux := device.NewMux()
			mux.HandleFunc("GET /light", lights)
			mux.HandleFunc("GET /slow", func(device.ResponseWriter, *device.Request) { <-release })
			b := newBed(t, func(d *device.Device) { d.Handler = mux })
			conn := b.dial()
			if _, err := b.login(conn, b.token(time.Hour, map[string]any{"group": "visitor"})); err != nil {
				t.Fatal(err)
			}
			slow := make(chan error, 1)
			begun := make(chan struct{})
			go func() {
				close(begun)
				_, err := conn.Do(b.ctx(), client.NewRequest(client.GET, "/slow"))
				slow <- err
			}()
			<-begun
			if _, err := conn.Get(b.ctx(), "/light"); err != nil {
				t.Fatal(err)
			}
			issuer := b.signer.issuer()
			issuer.Roles = maps.Clone(issuer.Roles)
			c.change(&issuer)
			if err := b.SetTokens([]device.TokenIssuer{issuer}); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Get(b.ctx(), "/light"); !errors.Is(err, c.want) {
				t.Errorf("afterwards: %v, want %v", err, c.want)
			}
			if c.want != nil { // what is under way ends
				if err := <-slow; err == nil {
					t.Error("a request that was under way went on")
				}
			}
			list, err := b.TokenSessions()
			if err != nil || (len(list) == 1) != (c.role != "") || len(list) == 1 && list[0].Role != c.role {
				t.Errorf("sessions %+v, %v, want role %q", list, err, c.role)
			}
		})
	}
}
