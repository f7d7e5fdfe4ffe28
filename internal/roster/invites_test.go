package roster

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

func (d *desk) invited() (names []string) {
	d.t.Helper()
	list, err := d.Invites("")
	if err != nil {
		d.t.Fatal(err)
	}
	for _, i := range list {
		names = append(names, i.User)
	}
	slices.Sort(names)
	return names
}

// TestInvitesOfThoseWhoAreGone: an invitation ends with the user who made it, and
// with its being an administrator.
func TestInvitesOfThoseWhoAreGone(t *testing.T) {
	for name, c := range map[string]struct {
		do    func(*desk) error
		gone  bool
		after func(*desk) error // what follows, and ends them
	}{
		"removed": {do: func(d *desk) error { return d.RemoveUser(d.olga, "otto", Terms{}) }, gone: true},
		"demoted": {do: func(d *desk) error { return second(d.SetRole(d.olga, "otto", acl.RoleUser, Terms{})) }, gone: true},
		"the same role": {
			do:    func(d *desk) error { return second(d.SetRole(d.olga, "otto", acl.RoleAdmin, Terms{})) },
			after: func(d *desk) error { return d.RemoveUser(d.olga, "otto", Terms{}) },
		},
		"renamed": {
			do:    func(d *desk) error { return second(d.Rename(d.olga, "otto", strings.Repeat("ö", 64), Terms{})) },
			after: func(d *desk) error { return d.RemoveUser(d.olga, strings.Repeat("ö", 64), Terms{}) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			otto := d.add("otto", acl.RoleAdmin)
			d.add("console", acl.RoleGuest)
			for user, a := range map[string]Actor{"byolga": d.olga, "byotto": otto, "bynobody": {Console: true}} {
				if _, err := d.Invite(a, NewInvite{User: user, Role: acl.RoleUser}); err != nil {
					t.Fatal(err)
				}
			}
			all, some := []string{"bynobody", "byolga", "byotto"}, []string{"bynobody", "byolga"}
			if err := d.RemoveUser(d.olga, "console", Terms{}); err != nil {
				t.Fatal(err)
			}
			if got := d.invited(); !slices.Equal(got, all) {
				t.Fatalf("invited %q", got)
			}
			if err := c.do(d); err != nil {
				t.Fatal(err)
			}
			want := all
			if c.gone {
				want = some
			}
			if got := d.invited(); !slices.Equal(got, want) {
				t.Errorf("invited %q, want %q", got, want)
			}
			if c.after == nil {
				return
			}
			if err := c.after(d); err != nil {
				t.Fatal(err)
			}
			if got := d.invited(); !slices.Equal(got, some) {
				t.Errorf("in the end invited %q, want %q", got, some)
			}
		})
	}
}

// TestQueueOfInvites: of many invitations that wait for one another none is made
// once the inviter is nobody any more.
func TestQueueOfInvites(t *testing.T) {
	d := newDesk(t)
	otto := d.judged(d.add("otto", acl.RoleAdmin), acl.InviteCreate, false)
	errs := make([]error, 16)
	var work sync.WaitGroup
	d.update(func(tx *acl.Tx) error { // the first waits for this with its invitation ready
		for i := range errs {
			work.Go(func() { _, errs[i] = d.Invite(otto, NewInvite{User: "x" + string(rune('a'+i))}) })
		}
		return tx.SetRole("otto", acl.RoleGuest)
	})
	work.Wait()
	for _, err := range errs {
		if !errors.Is(err, latchkey.ErrForbidden) {
			t.Errorf("told %v", err)
		}
	}
	if got := d.invited(); len(got) != 0 {
		t.Errorf("invited %q", got)
	}
}

// TestInvitedNames: nobody else gets the name that somebody is invited by, and so
// nobody can destroy the invitation with it.
func TestInvitedNames(t *testing.T) {
	d := newDesk(t)
	made, err := d.Invite(d.olga, NewInvite{User: "ida", Role: acl.RoleUser})
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"rename":         second(d.Rename(d.gus, "gus", "Ida", Terms{})),
		"rename another": second(d.Rename(d.olga, "gus", "ida", Terms{})),
		"add":            second(d.AddUser(d.olga, NewUser{Name: "IDA"})),
	} {
		if !errors.Is(err, latchkey.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := d.invited(); !slices.Equal(got, []string{"ida"}) {
		t.Errorf("invited %q", got)
	}
	if err := d.RemoveInvite(d.olga, made.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Rename(d.gus, "gus", "Ida", Terms{}); err != nil {
		t.Errorf("without an invitation: %v", err)
	}
}

// TestBearers: what somebody with a token does is told with whose token it was, and
// is not mistaken for a user's.
func TestBearers(t *testing.T) {
	d := newDesk(t)
	bearer := Actor{Key: newKey(), Token: "https://id.example/olga\n" + strings.Repeat("x", 300)}
	if _, err := d.Invite(bearer, NewInvite{User: "ida"}); err != nil {
		t.Fatal(err)
	}
	const want = "token:https://id.example/olga"
	if e := d.last(); !strings.HasPrefix(e.Detail, want) {
		t.Errorf("event %+v", e)
	}
	list, err := d.Invites("")
	if err != nil || len(list) != 1 || !strings.HasPrefix(list[0].By, want+"?x") {
		t.Errorf("invitations %+v, %v", list, err)
	}
	if _, err := d.SetRole(bearer, "gus", acl.RoleUser, Terms{}); err != nil {
		t.Fatal(err)
	}
	if e := d.last(); !strings.HasPrefix(e.Detail, want) || !strings.HasSuffix(bearer.Token, "x") {
		t.Errorf("event %+v", e)
	}
}
