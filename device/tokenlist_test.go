package device_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
)

// TestRevokeToken: a token that was revoked is good for nothing, at once and after a
// new start, while others of its bearer are.
func TestRevokeToken(t *testing.T) {
	b := newBed(t, func(d *device.Device) { d.Handler = device.HandlerFunc(lights) })
	conn := b.dial()
	token := b.token(time.Hour, nil)
	if _, err := b.login(conn, token); err != nil {
		t.Fatal(err)
	}
	list, err := b.TokenSessions()
	if err != nil || len(list) != 1 || list[0].ID != "1" || list[0].Subject != "ada" || list[0].Role != acl.RoleUser {
		t.Fatalf("sessions %+v, %v", list, err)
	}
	if err := b.RevokeToken(list[0].Issuer, list[0].ID, list[0].Expires); err != nil {
		t.Fatal(err)
	}
	select {
	case <-conn.Context().Done():
	case <-b.ctx().Done():
		t.Fatal("the session goes on")
	}
	if _, err := conn.Get(b.ctx(), "/light"); !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("afterwards: %v", err)
	}
	again := b.dial()
	if _, err := b.login(again, token); !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("the same token again: %v", err)
	}
	if list, err := b.TokenSessions(); err != nil || len(list) != 0 {
		t.Errorf("sessions %+v, %v", list, err)
	}
	if _, err := b.login(again, b.token(time.Hour, map[string]any{"jti": "2"})); err != nil {
		t.Errorf("another token: %v", err)
	}
	// What is on disk is enough.
	if err := device.RevokeToken(b.access, "https://id.example", "3", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.login(again, b.token(time.Hour, map[string]any{"jti": "3"})); !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("a token that the store has revoked: %v", err)
	}
	if err := b.access.Update(func(tx *acl.Tx) error { return tx.Reset() }); err != nil {
		t.Fatal(err)
	}
	if _, err := b.login(again, b.token(time.Hour, map[string]any{"jti": "3"})); !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("after a reset: %v", err)
	}
}

// TestRevokeTokenOnAFullDisk: it holds although it could not be written.
func TestRevokeTokenOnAFullDisk(t *testing.T) {
	b := newBed(t, func(d *device.Device) { d.Handler = device.HandlerFunc(lights) })
	conn := b.dial()
	if _, err := b.login(conn, b.token(time.Hour, nil)); err != nil {
		t.Fatal(err)
	}
	for i := range 300 { // more than there is room for
		err := device.RevokeToken(b.access, "https://id.example", string(rune('a'+i)), time.Now().Add(time.Hour))
		if (err != nil) != (i >= 200) || err != nil && !errors.Is(err, latchkey.ErrTooMany) {
			t.Fatalf("number %d: %v", i, err)
		}
	}
	if err := b.RevokeToken("https://id.example", "1", time.Now().Add(time.Hour)); !errors.Is(err, acl.ErrHeld) {
		t.Errorf("revoked with %v", err)
	}
	if _, err := b.login(b.dial(), b.token(time.Hour, nil)); !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestBootstrapTokens(t *testing.T) {
	access, err := acl.Create(filepath.Join(t.TempDir(), "access.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer access.Close()
	for range 2 {
		if _, err := device.AddBootstrapToken(access); err != nil {
			t.Fatal(err)
		}
	}
	list, err := device.BootstrapTokens(access)
	if err != nil || len(list) != 2 || len(list[0].ID) != 8 || time.Until(list[0].Expires) <= 0 {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := device.RemoveBootstrapToken(access, list[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := device.RemoveBootstrapToken(access, list[0].ID); !errors.Is(err, latchkey.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	if rest, err := device.BootstrapTokens(access); err != nil || len(rest) != 1 || rest[0] != list[1] {
		t.Errorf("left %+v, %v", rest, err)
	}
}
