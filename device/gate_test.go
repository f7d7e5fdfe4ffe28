package device

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/gate"
)

func testDoor(hook AuthorizeFunc, l Limits) *door {
	return newDoor(hook, l.withDefaults, slog.New(slog.DiscardHandler))
}

// refuses checks that the door says no with the sentinel and makes no pass.
func refuses(t *testing.T, d *door, want error) {
	t.Helper()
	pass, err := d.admit(t.Context(), &acl.Request{Action: acl.CoAPGet, Resource: "/x"})
	if !errors.Is(err, want) {
		t.Errorf("admit: %v, want %v", err, want)
	}
	if _, err := pass.Redeem(acl.CoAPGet); err == nil {
		t.Error("a refusal came with a pass that can be redeemed")
	}
}

func TestDoorRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		hook AuthorizeFunc
		want error
	}{
		"sentinel": {func(context.Context, *acl.Request) error { return latchkey.ErrTooMany }, latchkey.ErrTooMany},
		"own word": {func(context.Context, *acl.Request) error { return errors.New("not on Sundays") }, latchkey.ErrForbidden},
		"panic":    {func(context.Context, *acl.Request) error { panic("oops") }, latchkey.ErrForbidden},
		"nil call": {nil, latchkey.ErrForbidden},
	} {
		t.Run(name, func(t *testing.T) { refuses(t, testDoor(c.hook, Limits{}), c.want) })
	}
}

func TestDoorTakesNoLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := testDoor(func(context.Context, *acl.Request) error { // forgets its context
			<-release
			return nil
		}, Limits{AuthorizeTime: time.Second, AuthorizeCalls: 1})
		start := time.Now()
		refuses(t, d, latchkey.ErrForbidden)
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("waited %v for a hook that may take 1s", waited)
		}
		refuses(t, d, latchkey.ErrTooMany) // the stuck call still holds the only place
		close(release)
		synctest.Wait()
		refuses(t, testDoor(func(ctx context.Context, _ *acl.Request) error { // answers yes, but too late
			<-ctx.Done()
			return nil
		}, Limits{AuthorizeTime: time.Second}), latchkey.ErrForbidden)
	})
}

func TestPassHoldsWhatWasJudged(t *testing.T) {
	d := testDoor(func(_ context.Context, r *acl.Request) error {
		r.Resource, r.Target, r.User = "/other", "tcp://10.0.0.1:1", "root"
		r.Claims["a"] = "changed"
		return nil
	}, Limits{})
	asked := &acl.Request{Action: acl.TunnelOpen, Resource: "ssh", Target: "tcp://127.0.0.1:22", Claims: map[string]any{"a": "b"}}
	pass, err := d.admit(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := pass.Redeem(acl.TunnelOpen); err != nil || got != "ssh" {
		t.Errorf("Redeem: %q, %v", got, err)
	}
	if got := pass.Request(); got.Target != "tcp://127.0.0.1:22" || got.User != "" || got.Claims["a"] != "b" {
		t.Errorf("the hook changed what the pass is for: %+v", got)
	}
	if _, err := pass.Redeem(acl.CoAPGet); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("a pass for a tunnel was redeemed for a request: %v", err)
	}
}

func TestZeroPassIsRefused(t *testing.T) {
	if _, err := (gate.Pass{}).Redeem(acl.CoAPGet); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("zero pass: %v", err)
	}
}

// What is out of bounds is refused whatever the hook would say, and it does not
// reach what the hook may keep.
func TestBoundsHoldForEveryHook(t *testing.T) {
	asked := 0
	d := testDoor(func(_ context.Context, r *acl.Request) error {
		asked++
		r.Token.Scope[0], r.Token.Expires = "*", time.Now().Add(time.Hour)
		return nil
	}, Limits{})
	token := &acl.Token{Role: acl.RoleUser, Scope: []string{"coap:get"}, Expires: time.Now().Add(time.Minute)}
	ask := func(a acl.Action, at time.Time) error {
		_, err := d.admit(t.Context(), &acl.Request{Action: a, Resource: "/x", Time: at, Token: token})
		return err
	}
	if err := ask(acl.CoAPGet, time.Now()); err != nil || asked != 1 {
		t.Fatalf("in scope: %v, asked %d times", err, asked)
	}
	if err := ask(acl.CoAPPut, time.Now()); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("out of scope: %v", err)
	}
	if err := ask(acl.CoAPGet, time.Now().Add(2*time.Minute)); !errors.Is(err, latchkey.ErrTokenExpired) {
		t.Errorf("expired: %v", err)
	}
	if asked != 1 {
		t.Errorf("the hook was asked %d times", asked)
	}
}
