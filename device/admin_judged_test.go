package device

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
)

// wait returns when an event has come that somebody waits for.
func (o *office) wait(what string, is func(acl.Event) bool) {
	o.t.Helper()
	for {
		o.mu.Lock()
		for _, e := range o.events {
			if is(e) {
				o.mu.Unlock()
				return
			}
		}
		o.mu.Unlock()
		select {
		case <-o.ctx.Done():
			o.t.Fatalf("there was no event of %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// forget forgets all events.
func (o *office) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = nil
}

// late sends a request of adam's, an administrator, and makes a change while it is
// between the door, which has allowed it, and the store. It returns its answer.
func (o *office) late(adam *client.Conn, r *client.Request, change func(*acl.Tx) error) error {
	o.t.Helper()
	o.forget()
	var answer error
	var work sync.WaitGroup
	o.update(func(tx *acl.Tx) error {
		work.Go(func() { _, answer = adam.Do(o.ctx, r) })
		o.wait("what the door allowed", func(e acl.Event) bool {
			return e.Kind == acl.EventAccess && e.User == "adam" && e.Outcome == acl.OutcomeOK
		})
		return change(tx)
	})
	work.Wait()
	return answer
}

// TestDoneAsJudged: a demoted administrator's request that was allowed before, and
// had to wait, is not carried out.
func TestDoneAsJudged(t *testing.T) {
	for name, hook := range map[string]bool{"policies": false, "hook": true} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, func(d *Device, store *acl.Store) {
				if hook {
					d.Authorize = func(ctx context.Context, r *acl.Request) error { return store.Authorize(ctx, r) }
				}
			})
			o.admit("adam", acl.RoleAdmin)
			adam := o.as("adam")
			for _, r := range []*client.Request{
				request(PUT, "/users/adam/role", `{"role":"admin"}`),
				request(PUT, "/users/gus/policies", `{"policies":["admin"]}`),
				request(POST, "/users/eve", `{"role":"guest"}`),
				request(PUT, "/roles/guest", `{"policies":["admin"]}`),
				request(POST, "/invites/eve", `{"role":"guest"}`),
				request(PUT, "/settings/pairing/local-open", `{"open":false}`),
			} {
				o.update(func(tx *acl.Tx) error { return tx.SetRole("adam", acl.RoleAdmin) })
				err := o.late(adam, r, func(tx *acl.Tx) error { return tx.SetRole("adam", acl.RoleGuest) })
				if !errors.Is(err, latchkey.ErrForbidden) {
					t.Errorf("%s: %v", r.Path, err)
				}
			}
			o.update(func(tx *acl.Tx) error {
				if u, _ := tx.User("adam"); u.Role != acl.RoleGuest {
					t.Errorf("adam is %s", u.Role)
				}
				if _, there := tx.User("eve"); there || len(tx.Invites()) != 0 {
					t.Errorf("eve is there, or will be: %v", tx.Invites())
				}
				return tx.SetRole("adam", acl.RoleAdmin)
			})
			if out := o.must(adam, GET, "/settings", ""); !slices.Contains(out["pairing"].([]any), any("local-open")) {
				t.Errorf("a pairing mode was closed: %v", out)
			}
			err := o.late(adam, request(POST, "/users/eve", `{}`), func(tx *acl.Tx) error { return tx.SetRole("gus", acl.RoleUser) })
			if err != nil {
				t.Errorf("after a change that is not about it: %v", err)
			}
		})
	}
}

// TestManyChangesAtOnce: that others change something does not stop a change.
func TestManyChangesAtOnce(t *testing.T) {
	o := newOffice(t, nil)
	olga := o.as("olga")
	var work sync.WaitGroup
	for _, user := range []string{"a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8"} {
		work.Go(func() {
			if _, err := olga.Do(o.ctx, request(POST, "/users/"+user, `{}`)); err != nil {
				t.Errorf("%s: %v", user, err)
			}
		})
	}
	work.Wait()
}
