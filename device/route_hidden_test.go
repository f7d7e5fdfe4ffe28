package device

import (
	"errors"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
)

// TestRouteIsNotShown: a request that no URL can be made of tells nobody whether a
// route is there who may not ask there, and counts as any other refusal.
func TestRouteIsNotShown(t *testing.T) {
	o := newOffice(t, func(d *Device, _ *acl.Store) {
		d.Routes = []Route{{Path: "/up/**", To: "http://127.0.0.1:1"}}
		d.Limits.Refusals = 5
	})
	for _, c := range []struct {
		user string
		want error
	}{{"", latchkey.ErrUnpaired}, {"gus", latchkey.ErrForbidden}, {"uma", latchkey.ErrProtocol}} {
		_, err := o.as(c.user).Do(o.ctx, client.NewRequest(GET, "/up/a%252fb"))
		if !errors.Is(err, c.want) {
			t.Errorf("%q: %v", c.user, err)
		}
	}
	before := len(o.refusals("gus"))
	if before != 1 {
		t.Errorf("%d refusals of gus were told", before)
	}
	// What names nothing at all is as little free of charge.
	conn := o.as("gus")
	for range 6 {
		_, _ = conn.Do(o.ctx, client.NewRequest(GET, "/up/%01"))
	}
	if err := o.gone(conn); !errors.Is(err, latchkey.ErrAbuse) {
		t.Errorf("the session ended with %v", err)
	}
	if n := len(o.refusals("gus")) - before; n < 4 {
		t.Errorf("%d of them were told", n)
	}
}

// refusals are the events of requests that were refused to a user.
func (o *office) refusals(user string) (list []acl.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.events {
		if e.Kind == acl.EventAccess && e.Outcome == acl.OutcomeRefused && e.User == user {
			list = append(list, e)
		}
	}
	return list
}
