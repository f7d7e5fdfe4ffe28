package roster

import (
	"crypto/rand"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// A desk is a roster with an administrator, olga, and a guest, gus.
type desk struct {
	*Roster
	t         testing.TB
	olga, gus Actor
	mu        sync.Mutex
	events    []acl.Event
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	store, err := acl.Create(filepath.Join(t.TempDir(), "state", "access.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	d := &desk{t: t}
	host := pairing.NewHost(pairing.HostConfig{Store: store, Open: pairing.Invite, Key: newKey(), Device: latchkey.DeviceID{Product: "acme", Device: "gw1"}})
	d.Roster = &Roster{Access: store, Pairing: host, Now: func() time.Time { return noon }, Event: func(e acl.Event) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.events = append(d.events, e)
	}}
	d.olga, d.gus = d.add("olga", acl.RoleAdmin), d.add("gus", acl.RoleGuest)
	return d
}

func newKey() latchkey.Fingerprint {
	var b [latchkey.FingerprintSize]byte
	_, _ = rand.Read(b[:])
	key, _ := latchkey.FingerprintFromBytes(b[:])
	return key
}

// add makes a user with a key, behind the roster's back.
func (d *desk) add(name, role string) Actor {
	d.t.Helper()
	key := newKey()
	d.update(func(tx *acl.Tx) error {
		if err := tx.AddUser(acl.User{Name: name, Role: role}); err != nil {
			return err
		}
		return tx.AddKey(acl.Key{Fingerprint: key, User: name, Name: "first"})
	})
	return Actor{Key: key, User: name, Path: acl.PathLocal}
}

func (d *desk) update(f func(*acl.Tx) error) {
	d.t.Helper()
	if err := d.Access.Update(f); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) key(fp latchkey.Fingerprint) (k acl.Key) {
	d.t.Helper()
	err := d.Access.View(func(tx *acl.Tx) error {
		k, _ = tx.Key(fp)
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return k
}

func (d *desk) policy(name string, s ...acl.Statement) *acl.Policy {
	d.t.Helper()
	p, err := acl.NewPolicy(name, s...)
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// put stores a policy behind the roster's back.
func (d *desk) put(p *acl.Policy) {
	d.t.Helper()
	d.update(func(tx *acl.Tx) error { return tx.PutPolicy(p) })
}

// last returns the only event since it was last called.
func (d *desk) last() acl.Event {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.events) != 1 {
		d.t.Fatalf("%d events, want 1: %+v", len(d.events), d.events)
	}
	e := d.events[0]
	d.events = nil
	return e
}

func allow(actions ...string) acl.Statement {
	return acl.Statement{Effect: acl.Allow, Actions: actions, Resources: []string{"**"}}
}

// changes are all changes to what newDesk made and prepare added. version says at
// which version the actor saw what it changes.
var changes = []struct {
	name    string
	kind    acl.EventKind
	action  acl.Action
	object  string
	version func(*desk) string // nil: the change takes none
	do      func(d *desk, a Actor, t Terms) error
}{
	{"add user", acl.EventUser, acl.UserCreate, "new", nil, func(d *desk, a Actor, _ Terms) error {
		_, err := d.AddUser(a, NewUser{Name: "new", Key: newKey(), KeyName: "phone"})
		return err
	}},
	{"rename", acl.EventUser, acl.UserRename, "gus", gusVersion, func(d *desk, a Actor, t Terms) error {
		_, err := d.Rename(a, "gus", "gustav", t)
		return err
	}},
	{"set role", acl.EventUser, acl.UserRole, "gus", gusVersion, func(d *desk, a Actor, t Terms) error {
		_, err := d.SetRole(a, "gus", acl.RoleUser, t)
		return err
	}},
	{"set expiry", acl.EventUser, acl.UserExpire, "gus", gusVersion, func(d *desk, a Actor, t Terms) error {
		_, err := d.SetExpiry(a, "gus", noon.Add(time.Hour), t)
		return err
	}},
	{"set policies", acl.EventUser, acl.UserPolicies, "gus", gusVersion, func(d *desk, a Actor, t Terms) error {
		_, err := d.SetPolicies(a, "gus", []string{"spare"}, t)
		return err
	}},
	{"add key", acl.EventKey, acl.KeyAdd, "gus", gusVersion, func(d *desk, a Actor, t Terms) error {
		_, err := d.AddKey(a, "gus", NewKey{Fingerprint: newKey()}, t)
		return err
	}},
	{"change key", acl.EventKey, acl.KeyChange, "gus", gusVersion, func(d *desk, a Actor, t Terms) error {
		name := "renamed"
		_, err := d.ChangeKey(a, "gus", d.gus.Key, KeyChange{Name: &name}, t)
		return err
	}},
	{"remove key", acl.EventKey, acl.KeyRemove, "gus", gusVersion, func(d *desk, a Actor, t Terms) error {
		return d.RemoveKey(a, "gus", d.gus.Key, t)
	}},
	{"remove user", acl.EventUser, acl.UserRemove, "gus", gusVersion, func(d *desk, a Actor, t Terms) error {
		return d.RemoveUser(a, "gus", t)
	}},
	{"put role", acl.EventRole, acl.RolePut, "spare", roleVersion, func(d *desk, a Actor, t Terms) error {
		_, err := d.PutRole(a, acl.Role{Name: "spare", Policies: []string{acl.RoleGuest}, Includes: []string{acl.RoleUser}}, t)
		return err
	}},
	{"remove role", acl.EventRole, acl.RoleRemove, "spare", roleVersion, func(d *desk, a Actor, t Terms) error {
		return d.RemoveRole(a, "spare", t)
	}},
	{"put policy", acl.EventPolicy, acl.PolicyPut, "spare", policyVersion, func(d *desk, a Actor, t Terms) error {
		_, err := d.PutPolicy(a, d.policy("spare", allow("coap:get")), t)
		return err
	}},
	{"remove policy", acl.EventPolicy, acl.PolicyRemove, "spare", policyVersion, func(d *desk, a Actor, t Terms) error {
		return d.RemovePolicy(a, "spare", t)
	}},
	{"invite", acl.EventInvite, acl.InviteCreate, "ida", nil, func(d *desk, a Actor, _ Terms) error {
		_, err := d.Invite(a, NewInvite{User: "ida"})
		return err
	}},
	{"name the device", acl.EventSettings, acl.DeviceRename, "/device/name", nil, func(d *desk, a Actor, _ Terms) error {
		return d.SetName(a, "kitchen")
	}},
}

func gusVersion(d *desk) string {
	a, err := d.User("gus")
	if err != nil {
		d.t.Fatal(err)
	}
	return a.Version
}

func roleVersion(d *desk) string {
	r, err := d.Role("spare")
	if err != nil {
		d.t.Fatal(err)
	}
	return r.Version
}

func policyVersion(d *desk) string {
	p, err := d.Policy("spare")
	if err != nil {
		d.t.Fatal(err)
	}
	return p.Version
}

func prepared(t testing.TB) *desk {
	d := newDesk(t)
	d.put(d.policy("spare", allow("coap:*")))
	d.update(func(tx *acl.Tx) error { return tx.PutRole(acl.Role{Name: "spare"}) })
	return d
}

// touch changes everything that changes are about.
func (d *desk) touch() {
	d.put(d.policy("spare", allow("coap:put")))
	d.update(func(tx *acl.Tx) error {
		if err := tx.SetRole("gus", "spare"); err != nil {
			return err
		}
		return tx.PutRole(acl.Role{Name: "spare", Policies: []string{acl.RoleAdmin}})
	})
}

// TestChanges: each change works on the terms that were read, is refused on those
// that have passed, and is told with who did what either way.
func TestChanges(t *testing.T) {
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			d := prepared(t)
			var terms Terms
			if c.version != nil {
				terms.Version = c.version(d)
			}
			if err := c.do(d, d.olga, terms); err != nil {
				t.Fatal(err)
			}
			e := d.last()
			if e.Kind != c.kind || e.Outcome != acl.OutcomeOK || e.Action != c.action || e.Object != c.object || e.Detail == "" ||
				e.Key != d.olga.Key || e.User != "olga" || e.Console || e.Path != acl.PathLocal || e.Code != 0 {
				t.Errorf("event %+v", e)
			}
			if c.version == nil {
				return
			}
			d = prepared(t)
			terms.Version = c.version(d)
			d.touch()
			before := d.state()
			if err := c.do(d, d.olga, terms); !errors.Is(err, latchkey.ErrConflict) {
				t.Errorf("on terms that have passed: %v", err)
			}
			if e := d.last(); e.Outcome != acl.OutcomeRefused || e.Code != latchkey.CodeConflict || e.Action != c.action || e.Object != c.object {
				t.Errorf("event of the refusal %+v", e)
			}
			if after := d.state(); after != before {
				t.Errorf("it was changed all the same, from %d to %d", before, after)
			}
		})
	}
}

func (d *desk) state() (generation uint64) {
	d.t.Helper()
	err := d.Access.View(func(tx *acl.Tx) error {
		generation = tx.Generation()
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return generation
}

// TestFailuresAreTold: what the store cannot do is no refusal.
func TestFailuresAreTold(t *testing.T) {
	d := newDesk(t)
	if err := d.Access.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveUser(Actor{Console: true}, "gus", Terms{}); err == nil {
		t.Error("removed from a closed store")
	}
	if e := d.last(); e.Outcome != acl.OutcomeFailed || e.Code != latchkey.CodeInternal || !e.Console {
		t.Errorf("event %+v", e)
	}
}

// TestTwoAdministrators: of many who have seen the same, one wins.
func TestTwoAdministrators(t *testing.T) {
	d := newDesk(t)
	second := d.add("otto", acl.RoleAdmin)
	version := gusVersion(d)
	var work sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		work.Go(func() {
			actor, role := d.olga, acl.RoleUser
			if i%2 == 0 {
				actor, role = second, acl.RoleAdmin
			}
			_, errs[i] = d.SetRole(actor, "gus", role, Terms{Version: version})
		})
	}
	work.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, latchkey.ErrConflict) {
			t.Errorf("told %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d won", won, len(errs))
	}
}

// TestLastAdministrator: nothing that would leave the device without somebody who
// could undo it happens unless it is forced.
func TestLastAdministrator(t *testing.T) {
	later := noon.Add(time.Hour)
	none := []string{}
	for name, do := range map[string]func(*desk, Terms) error{
		"remove":     func(d *desk, t Terms) error { return d.RemoveUser(d.olga, "olga", t) },
		"remove key": func(d *desk, t Terms) error { return d.RemoveKey(d.olga, "olga", d.olga.Key, t) },
		"role":       func(d *desk, t Terms) error { _, err := d.SetRole(d.olga, "olga", acl.RoleUser, t); return err },
		"expiry":     func(d *desk, t Terms) error { _, err := d.SetExpiry(d.olga, "olga", later, t); return err },
		"key expiry": func(d *desk, t Terms) error {
			_, err := d.ChangeKey(Actor{Console: true}, "olga", d.olga.Key, KeyChange{Expires: &later}, t)
			return err
		},
		"role's policies": func(d *desk, t Terms) error {
			_, err := d.PutRole(d.olga, acl.Role{Name: acl.RoleAdmin, Policies: none}, t)
			return err
		},
		"policy": func(d *desk, t Terms) error {
			_, err := d.PutPolicy(d.olga, d.policy(acl.RoleAdmin, allow("coap:*")), t)
			return err
		},
		"user's policies": func(d *desk, t Terms) error {
			d.put(d.policy("no-rules", acl.Statement{Effect: acl.Deny, Actions: []string{"policy:put"}, Resources: []string{"**"}}))
			_, err := d.SetPolicies(d.olga, "olga", []string{"no-rules"}, t)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			err := do(d, Terms{})
			if !errors.Is(err, acl.ErrLastAdmin) || !errors.Is(err, latchkey.ErrConflict) {
				t.Errorf("not forced: %v", err)
			}
			if e := d.last(); e.Outcome != acl.OutcomeRefused {
				t.Errorf("event %+v", e)
			}
			if err := do(d, Terms{Force: true}); err != nil {
				t.Errorf("forced: %v", err)
			}
			d = newDesk(t)
			d.add("otto", acl.RoleAdmin)
			if strings.HasPrefix(name, "role's") || name == "policy" {
				return // that is about all administrators
			}
			if err := do(d, Terms{}); err != nil {
				t.Errorf("with another administrator: %v", err)
			}
		})
	}
}

// TestRulesAreForEverybody: values that cannot be get the code that says so.
func TestRulesAreForEverybody(t *testing.T) {
	d := prepared(t)
	long := strings.Repeat("x", MaxName+1)
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"user name":       {second(d.AddUser(d.olga, NewUser{Name: "a/b"})), latchkey.ErrProtocol},
		"control":         {second(d.AddUser(d.olga, NewUser{Name: "a\x00"})), latchkey.ErrProtocol},
		"homoglyph":       {second(d.AddUser(d.olga, NewUser{Name: "оlga"})), latchkey.ErrProtocol},
		"taken":           {second(d.AddUser(d.olga, NewUser{Name: "Gus"})), latchkey.ErrConflict},
		"unpaired":        {second(d.SetRole(d.olga, "gus", acl.RoleUnpaired, Terms{})), latchkey.ErrProtocol},
		"no role":         {second(d.SetRole(d.olga, "gus", "boss", Terms{})), latchkey.ErrNotFound},
		"no user":         {second(d.SetRole(d.olga, "nobody", acl.RoleUser, Terms{})), latchkey.ErrNotFound},
		"rename to taken": {second(d.Rename(d.olga, "gus", "OLGA", Terms{})), latchkey.ErrConflict},
		"no policy":       {second(d.SetPolicies(d.olga, "gus", []string{"none"}, Terms{})), latchkey.ErrNotFound},
		"key taken":       {second(d.AddKey(d.olga, "gus", NewKey{Fingerprint: d.olga.Key}, Terms{})), latchkey.ErrConflict},
		"other's key":     {d.RemoveKey(d.olga, "gus", d.olga.Key, Terms{Force: true}), latchkey.ErrNotFound},
		"role cycle":      {second(d.PutRole(d.olga, acl.Role{Name: "spare", Includes: []string{"spare"}}, Terms{})), latchkey.ErrConflict},
		"role missing":    {second(d.PutRole(d.olga, acl.Role{Name: "spare", Includes: []string{"none"}}, Terms{})), latchkey.ErrNotFound},
		"role there":      {second(d.PutRole(d.olga, acl.Role{Name: "spare"}, Terms{Version: Absent})), latchkey.ErrConflict},
		"policy there":    {second(d.PutPolicy(d.olga, d.policy("spare"), Terms{Version: Absent})), latchkey.ErrConflict},
		"built in":        {d.RemoveRole(d.olga, acl.RoleGuest, Terms{}), latchkey.ErrConflict},
		"policy in use":   {d.RemovePolicy(d.olga, acl.RoleGuest, Terms{}), latchkey.ErrConflict},
		"long name":       {d.SetName(d.olga, long), latchkey.ErrProtocol},
		"odd name":        {d.SetName(d.olga, "a\nb"), latchkey.ErrProtocol},
		"invite a user":   {second(d.Invite(d.olga, NewInvite{User: "gus"})), latchkey.ErrConflict},
		"invite for long": {second(d.Invite(d.olga, NewInvite{User: "ida", Expires: noon.Add(MaxInviteLife + 1)})), latchkey.ErrProtocol},
		"invite too late": {second(d.Invite(d.olga, NewInvite{User: "ida", Expires: noon})), latchkey.ErrProtocol},
		"invite to what":  {second(d.Invite(d.olga, NewInvite{User: "ida", Role: "boss"})), latchkey.ErrNotFound},
		"invite whom":     {second(d.Invite(d.olga, NewInvite{User: ".."})), latchkey.ErrProtocol},
		"no invitation":   {d.RemoveInvite(d.olga, "x"), latchkey.ErrNotFound},
		"open initial":    {d.OpenPairing(d.olga, pairing.LocalInitial, 0), latchkey.ErrConflict},
		"open password":   {d.OpenPairing(d.olga, pairing.PasswordOpen, 0), latchkey.ErrConflict},
	} {
		if !errors.Is(c.err, c.want) || latchkey.CodeOf(c.err) != latchkey.CodeOf(c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	for _, e := range d.events {
		if e.Outcome != acl.OutcomeRefused || e.Code == 0 {
			t.Errorf("event %+v", e)
		}
	}
	if _, err := d.PutRole(d.olga, acl.Role{Name: "fresh"}, Terms{Version: Absent}); err != nil {
		t.Errorf("a role that was not there: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestInvitations(t *testing.T) {
	d := newDesk(t)
	made, err := d.Invite(d.olga, NewInvite{User: "ida"})
	if err != nil {
		t.Fatal(err)
	}
	e := d.last()
	if text := e.Detail + e.Object; strings.Contains(text, made.Password.Reveal()) || strings.Contains(text, made.ID) {
		t.Errorf("the event tells a secret: %+v", e)
	}
	if made.Role != acl.RoleGuest || !made.Expires.Equal(noon.Add(InviteLife)) {
		t.Errorf("invited %+v", made)
	}
	for range 3 {
		if _, err := d.Invite(Actor{Console: true}, NewInvite{User: "jan", Role: acl.RoleUser}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := d.Invites("")
	if err != nil || len(list) != 4 || !slices.IsSortedFunc(list, func(a, b acl.Invite) int { return strings.Compare(a.ID, b.ID) }) {
		t.Fatalf("%d invitations, %v", len(list), err)
	}
	if rest, err := d.Invites(list[1].ID); err != nil || len(rest) != 2 || rest[0].ID != list[2].ID {
		t.Errorf("behind the second: %v, %v", rest, err)
	}
	if err := d.RemoveInvite(d.olga, made.ID); err != nil {
		t.Error(err)
	}
	if list, _ := d.Invites(""); len(list) != 3 {
		t.Errorf("%d are left", len(list))
	}
	d.Now = func() time.Time { return time.Time{} }
	if _, err := d.Invite(d.olga, NewInvite{User: "kim"}); !errors.Is(err, latchkey.ErrConflict) {
		t.Errorf("without a clock: %v", err)
	}
	if err := d.OpenPairing(d.olga, pairing.LocalOpen, time.Minute); !errors.Is(err, latchkey.ErrConflict) {
		t.Errorf("opened for a time without a clock: %v", err)
	}
}

func TestDeviceName(t *testing.T) {
	d := newDesk(t)
	for _, name := range []string{"kitchen", "Küche 2", ""} {
		if err := d.SetName(d.olga, name); err != nil {
			t.Fatal(err)
		}
		if got := Name(d.Access); got != name {
			t.Errorf("name %q, want %q", got, name)
		}
	}
}
