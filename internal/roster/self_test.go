package roster

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// TestOwnKeys: a key that users add for themselves is never worth more than the
// one that they act with.
func TestOwnKeys(t *testing.T) {
	soon, later := noon.Add(time.Hour), noon.Add(2*time.Hour)
	for name, c := range map[string]struct{ own, asked, want time.Time }{
		"no end":         {},
		"an end":         {asked: soon, want: soon},
		"inherited":      {own: soon, want: soon},
		"not longer":     {own: soon, asked: later, want: soon},
		"but shorter":    {own: later, asked: soon, want: soon},
		"the same again": {own: soon, asked: soon, want: soon},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.put(d.policy("narrow", acl.Statement{Effect: acl.Deny, Actions: []string{"tunnel:open"}, Resources: []string{"**"}}))
			d.update(func(tx *acl.Tx) error {
				k, _ := tx.Key(d.gus.Key)
				k.Expires, k.Policies, k.Origin, k.Added = c.own, []string{"narrow"}, "local-open", noon.Add(-time.Hour)
				return tx.SetKey(k)
			})
			key := newKey()
			if _, err := d.AddKey(d.gus, "gus", NewKey{Fingerprint: key, Name: "phone", Expires: c.asked}, Terms{}); err != nil {
				t.Fatal(err)
			}
			if e := d.last(); e.Action != acl.SelfKeyAdd || e.Object != "gus" {
				t.Errorf("event %+v", e)
			}
			got := d.key(key)
			if !got.Expires.Equal(c.want) || !slices.Equal(got.Policies, []string{"narrow"}) || got.User != "gus" ||
				got.Origin != "local-open" || !got.Added.Equal(noon.Add(-time.Hour)) {
				t.Errorf("key %+v", got)
			}
			key = newKey()
			if _, err := d.AddKey(d.olga, "gus", NewKey{Fingerprint: key, Expires: c.asked}, Terms{}); err != nil {
				t.Error(err)
			}
			if got := d.key(key); got.Origin != OriginManual || !got.Added.Equal(noon) {
				t.Errorf("key of the administrator %+v", got)
			}
			if e := d.last(); e.Action != acl.KeyAdd {
				t.Errorf("event of the administrator %+v", e)
			}
		})
	}
}

// TestOwnKeysGetNoMore: users change the names of their keys and shorten their
// lives.
func TestOwnKeysGetNoMore(t *testing.T) {
	soon, later, never := noon.Add(time.Hour), noon.Add(2*time.Hour), time.Time{}
	sooner := soon.Add(-time.Second)
	name, none := "phone", []string{}
	for what, c := range map[string]struct {
		change KeyChange
		want   error
	}{
		"name":       {KeyChange{Name: &name}, nil},
		"shorter":    {KeyChange{Expires: &noon}, nil},
		"a bit less": {KeyChange{Expires: &sooner}, nil},
		"longer":     {KeyChange{Expires: &later}, latchkey.ErrForbidden},
		"for ever":   {KeyChange{Expires: &never}, latchkey.ErrForbidden},
		"policies":   {KeyChange{Policies: &none}, latchkey.ErrForbidden},
		"everything": {KeyChange{Name: &name, Expires: &soon, Policies: &none}, latchkey.ErrForbidden},
	} {
		d := newDesk(t)
		d.update(func(tx *acl.Tx) error {
			k, _ := tx.Key(d.gus.Key)
			k.Expires = soon
			return tx.SetKey(k)
		})
		_, err := d.ChangeKey(d.gus, "gus", d.gus.Key, c.change, Terms{})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		if e := d.last(); e.Action != acl.SelfKeyChange || (e.Outcome == acl.OutcomeOK) != (c.want == nil) {
			t.Errorf("%s: event %+v", what, e)
		}
		if k := d.key(d.gus.Key); c.want != nil && (!k.Expires.Equal(soon) || k.Name != "first") {
			t.Errorf("%s: key %+v", what, k)
		}
		if _, err := d.ChangeKey(d.olga, "gus", d.gus.Key, c.change, Terms{}); err != nil {
			t.Errorf("%s, by an administrator: %v", what, err)
		}
	}
}

// TestOwnName: nobody walks out of a rule, or into one, by another name.
func TestOwnName(t *testing.T) {
	for what, s := range map[string]acl.Statement{
		"condition": {Effect: acl.Deny, Actions: []string{"tunnel:open"}, Resources: []string{"**"}, Conditions: []acl.Condition{
			{Attribute: "connection.user", Operator: "equals", Values: []string{"gus"}},
		}},
		"resource": {Effect: acl.Allow, Actions: []string{"coap:*"}, Resources: []string{"/home/${connection.user}/*"}},
		"user":     {Effect: acl.Allow, Actions: []string{"user:role"}, Resources: []string{"gus"}},
		"users":    {Effect: acl.Allow, Actions: []string{"user:*"}, Resources: []string{"gustav"}},
		"key":      {Effect: acl.Deny, Actions: []string{"coap:get", "key:add"}, Resources: []string{"gus"}},
		"invite":   {Effect: acl.Allow, Actions: []string{"invite:create"}, Resources: []string{"/x", "gustav"}},
		"self":     {Effect: acl.Deny, Actions: []string{"self:key-add"}, Resources: []string{"gus"}},
		"all":      {Effect: acl.Deny, Actions: []string{"*"}, Resources: []string{"gus"}},
	} {
		d := newDesk(t)
		if _, err := d.Rename(d.gus, "gus", "gustav", Terms{}); err != nil {
			t.Errorf("%s: without rules about names: %v", what, err)
		}
		if e := d.last(); e.Action != acl.SelfRename || e.Object != "gus" {
			t.Errorf("event %+v", e)
		}
		d.gus.User = "gustav"
		d.put(d.policy("names", s))
		if _, err := d.Rename(d.gus, "gustav", "gus", Terms{}); !errors.Is(err, latchkey.ErrForbidden) {
			t.Errorf("%s: %v", what, err)
		}
		for _, a := range []Actor{d.olga, {Console: true}} {
			if _, err := d.Rename(a, "gustav", "gustav2", Terms{}); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if _, err := d.Rename(a, "gustav2", "gustav", Terms{}); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := d.Rename(d.olga, "olga", "olga2", Terms{}); err != nil {
			t.Errorf("%s: an administrator itself: %v", what, err)
		}
	}
}

// TestOwnNameWithoutNames: rules about everybody, and about other things, are none
// about names.
func TestOwnNameWithoutNames(t *testing.T) {
	d := newDesk(t)
	d.put(d.policy("general", allow("user:*", "key:*", "invite:*", "self:*"), acl.Statement{
		Effect: acl.Allow, Actions: []string{"user:list", "invite:list"}, Resources: []string{"/users", "/invites"},
	}, acl.Statement{Effect: acl.Allow, Actions: []string{"tunnel:open", "role:show"}, Resources: []string{"ssh"}}))
	if _, err := d.Rename(d.gus, "gus", "gustav", Terms{}); err != nil {
		t.Error(err)
	}
}

// TestOwnNameUnderAHook: nobody knows what a hook makes of names.
func TestOwnNameUnderAHook(t *testing.T) {
	d := newDesk(t)
	d.Hooked = true
	for _, a := range []Actor{d.gus, d.olga} {
		if _, err := d.Rename(a, a.User, "other", Terms{}); !errors.Is(err, latchkey.ErrForbidden) {
			t.Errorf("%s: %v", a.User, err)
		}
	}
	if _, err := d.Rename(d.olga, "gus", "gustav", Terms{}); err != nil {
		t.Errorf("another: %v", err)
	}
}

// TestQuota: users change themselves a few times a minute, by whatever name, and
// with all their keys together; others are not bounded by that.
func TestQuota(t *testing.T) {
	d := newDesk(t)
	d.Quota = new(Quota)
	names := []string{"gus", "gustav"}
	rename := func(i int) error {
		d.gus.User = names[i%2]
		return second(d.Rename(d.gus, names[i%2], names[(i+1)%2], Terms{}))
	}
	for i := range SelfChanges {
		if err := rename(i); err != nil {
			t.Fatal(err)
		}
	}
	before := d.state()
	d.events = nil
	for range 3 {
		if err := rename(0); !errors.Is(err, latchkey.ErrTooMany) {
			t.Errorf("too often: %v", err)
		}
		if e := d.last(); e.Outcome != acl.OutcomeRefused || e.Code != latchkey.CodeTooMany || e.Detail != "too many changes" {
			t.Errorf("event %+v", e)
		}
	}
	if d.state() != before {
		t.Error("something was written")
	}
	if _, err := d.Rename(d.olga, "gus", "gustav", Terms{}); err != nil {
		t.Errorf("an administrator: %v", err)
	}
	uma := d.add("uma", acl.RoleUser)
	for i := range SelfChanges {
		if err := d.RemoveKey(uma, "uma", newKey(), Terms{}); !errors.Is(err, latchkey.ErrNotFound) {
			t.Errorf("try %d: %v", i, err)
		}
	}
	if err := d.RemoveUser(uma, "uma", Terms{}); !errors.Is(err, latchkey.ErrTooMany) {
		t.Errorf("tries do not count: %v", err)
	}
}

// TestQuotaOfDays: nobody fills the audit log within days by changing slowly.
func TestQuotaOfDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Quota
		const days = 10
		made := 0
		for range days * 24 * 60 {
			if q.take("gus") {
				made++
			}
			time.Sleep(time.Minute)
		}
		if made < days*SelfChangesDay || made > (days+1)*SelfChangesDay {
			t.Errorf("%d changes in %d days", made, days)
		}
		for i := range maxQuotas {
			q.take(fmt.Sprint("user", i))
		}
		time.Sleep(25 * time.Hour)
		q.take("one more")
		if n := len(q.left); n > 2 {
			t.Errorf("%d users are remembered", n)
		}
	})
}

// TestNothingIsDifferent: what changes nothing is not written, and not told.
func TestNothingIsDifferent(t *testing.T) {
	d := prepared(t)
	first := "first"
	if err := d.SetName(d.olga, "kitchen"); err != nil {
		t.Fatal(err)
	}
	before := d.state()
	d.events = nil
	for name, err := range map[string]error{
		"role":     second(d.SetRole(d.olga, "gus", acl.RoleGuest, Terms{})),
		"expiry":   second(d.SetExpiry(d.olga, "gus", time.Time{}, Terms{})),
		"policies": second(d.SetPolicies(d.olga, "gus", nil, Terms{})),
		"rename":   second(d.Rename(d.gus, "gus", "gus", Terms{})),
		"key":      second(d.ChangeKey(d.gus, "gus", d.gus.Key, KeyChange{Name: &first}, Terms{})),
		"put role": second(d.PutRole(d.olga, acl.Role{Name: "spare"}, Terms{})),
		"policy":   second(d.PutPolicy(d.olga, d.policy("spare", allow("coap:*")), Terms{})),
		"name":     d.SetName(d.olga, "kitchen"),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d.state() != before || len(d.events) != 0 {
		t.Errorf("written, or told: %+v", d.events)
	}
	a, err := d.SetRole(d.olga, "gus", acl.RoleGuest, Terms{})
	if err != nil || a.Name != "gus" || a.Role != acl.RoleGuest {
		t.Errorf("answered %+v, %v", a, err)
	}
}

// TestActorsAreChecked: who was somebody at the door, and is not any more, changes
// nothing.
func TestActorsAreChecked(t *testing.T) {
	for what, between := range map[string]func(*desk, *acl.Tx) error{
		"key removed": func(d *desk, tx *acl.Tx) error { return tx.RemoveKey(d.gus.Key) },
		"key moved": func(d *desk, tx *acl.Tx) error {
			k, _ := tx.Key(d.gus.Key)
			k.User = "olga"
			return tx.SetKey(k)
		},
		"renamed": func(_ *desk, tx *acl.Tx) error { return tx.RenameUser("gus", "other") },
	} {
		d := newDesk(t)
		d.update(func(tx *acl.Tx) error { return between(d, tx) })
		before := d.state()
		for _, do := range []func() error{
			func() error { return second(d.AddKey(d.gus, "gus", NewKey{Fingerprint: newKey()}, Terms{})) },
			func() error { return d.RemoveUser(d.gus, "gus", Terms{}) },
			func() error { return second(d.Invite(d.gus, NewInvite{User: "ida"})) },
			func() error { return d.SetName(d.gus, "mine") },
		} {
			if err := do(); !errors.Is(err, latchkey.ErrRevoked) {
				t.Errorf("%s: %v", what, err)
			}
			if e := d.last(); e.Outcome != acl.OutcomeRefused || e.Code != latchkey.CodeRevoked {
				t.Errorf("%s: event %+v", what, e)
			}
		}
		if after := d.state(); after != before {
			t.Errorf("%s: something was changed", what)
		}
	}
}

// TestRemovingMyself ends with the user gone.
func TestRemovingMyself(t *testing.T) {
	d := newDesk(t)
	if err := d.RemoveUser(d.gus, "gus", Terms{}); err != nil {
		t.Fatal(err)
	}
	if e := d.last(); e.Action != acl.SelfRemove || e.User != "gus" {
		t.Errorf("event %+v", e)
	}
	if _, err := d.User("gus"); !errors.Is(err, latchkey.ErrNotFound) {
		t.Errorf("still there: %v", err)
	}
}
