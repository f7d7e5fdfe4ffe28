package device

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/roster"
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

// clerks have a role of their own, with a policy that allows some actions.
func (o *office) clerks(actions ...string) {
	o.t.Helper()
	p, err := acl.NewPolicy("clerk", acl.Statement{Effect: acl.Allow, Actions: actions, Resources: []string{"**"}})
	if err != nil {
		o.t.Fatal(err)
	}
	o.update(func(tx *acl.Tx) error {
		return errors.Join(tx.PutPolicy(p), tx.PutRole(acl.Role{Name: "clerk", Policies: []string{"clerk"}}))
	})
}

// TestRolesAreGivenByThoseWhoMay: who may make users and invitations may not make
// administrators by that, nor do away with the last one.
func TestRolesAreGivenByThoseWhoMay(t *testing.T) {
	o := newOffice(t, nil)
	o.clerks("user:create", "user:remove", "user:expire", "invite:create", "role:put")
	o.admit("cleo", "clerk")
	cleo := o.as("cleo")
	try := func(want error) {
		t.Helper()
		for _, r := range []*client.Request{
			request(POST, "/invites/evil", `{"role":"admin"}`),
			request(POST, "/users/eve", `{"role":"user"}`),
			request(PUT, "/roles/clerk?force=true", `{"policies":["clerk","guest"]}`),
			request(PUT, "/users/olga/expires?force=true", `{"expires":"2099-01-02T03:04:05Z"}`),
			request(DELETE, "/users/olga?force=true", ``),
		} {
			if _, err := cleo.Do(o.ctx, r); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", r.Path, err, want)
			}
		}
	}
	try(latchkey.ErrForbidden)
	o.wait("the refusal", func(e acl.Event) bool {
		return e.Kind == acl.EventAccess && e.Action == acl.UserRole && e.Object == "evil" && e.Outcome == acl.OutcomeRefused
	})
	for _, path := range []string{"/invites/gina", "/users/gail"} {
		o.must(cleo, POST, path, `{"role":"guest"}`)
	}
	o.must(cleo, POST, "/users/gerd", ``)
	o.clerks("user:create", "user:remove", "user:expire", "invite:create", "role:put", "user:role")
	try(nil)
}

// TestRoleIsJudgedAsItIsGiven: the second question is asked again too.
func TestRoleIsJudgedAsItIsGiven(t *testing.T) {
	o := newOffice(t, nil)
	o.clerks("invite:create", "user:role")
	o.admit("adam", "clerk")
	narrow, err := acl.NewPolicy("clerk", acl.Statement{Effect: acl.Allow, Actions: []string{"invite:create"}, Resources: []string{"**"}})
	if err != nil {
		t.Fatal(err)
	}
	adam := o.as("adam")
	o.forget()
	var answer error
	var work sync.WaitGroup
	o.update(func(tx *acl.Tx) error {
		work.Go(func() { _, answer = adam.Do(o.ctx, request(POST, "/invites/evil", `{"role":"admin"}`)) })
		o.wait("what the door allowed", func(e acl.Event) bool { return e.Action == acl.UserRole && e.Outcome == acl.OutcomeOK })
		return tx.PutPolicy(narrow)
	})
	work.Wait()
	if !errors.Is(answer, latchkey.ErrForbidden) {
		t.Errorf("told %v", answer)
	}
}

// TestSelfFlood: a guest who changes itself all the time is stopped, and then shown
// out.
func TestSelfFlood(t *testing.T) {
	o := newOffice(t, nil)
	gus := o.as("gus")
	path := "/users/gus/keys/" + o.keys["gus"].Fingerprint().String()
	made := 0
	for i := range 200 {
		_, err := gus.Do(o.ctx, request(PUT, path, fmt.Sprintf(`{"name":"n%d"}`, i)))
		switch {
		case err == nil:
			made++
		case errors.Is(err, latchkey.ErrAbuse):
			if made < roster.SelfChanges || made > 2*roster.SelfChanges {
				t.Errorf("%d changes were made", made)
			}
			return
		case !errors.Is(err, latchkey.ErrTooMany):
			t.Fatalf("change %d: %v", i, err)
		}
	}
	t.Errorf("still there after %d changes", made)
}

// TestInvitedNameIsKept from strangers, and from users.
func TestInvitedNameIsKept(t *testing.T) {
	o := newOffice(t, nil)
	o.must(o.as("olga"), POST, "/invites/bob", `{"role":"user"}`)
	for what, c := range map[string]struct {
		conn   *client.Conn
		method Method
		path   string
		body   string
		want   error
	}{
		"pair":   {o.as(""), POST, "/pairing/local-open", `{"user":"Bob","name":"x"}`, latchkey.ErrConflict},
		"rename": {o.as("gus"), PUT, "/users/gus/name", `{"name":"bob"}`, latchkey.ErrConflict},
		"remove": {o.as("uma"), DELETE, "/users/bob", ``, latchkey.ErrForbidden},
	} {
		if _, err := o.do(c.conn, c.method, c.path, c.body); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	o.update(func(tx *acl.Tx) error {
		if n := len(tx.Invites()); n != 1 {
			t.Errorf("%d invitations are left", n)
		}
		return nil
	})
}
