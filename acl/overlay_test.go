package acl

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
	"pgregory.net/rapid"
)

// rule is a policy of one statement.
func rule(t testing.TB, name string, effect Effect, action string) *Policy {
	t.Helper()
	p, err := NewPolicy(name, Statement{Effect: effect, Actions: []string{action}, Resources: []string{"**"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A cut takes the right to CoAPPut away from bob, who has key 2.
type cut struct {
	name string
	fn   func(*Tx) error
}

// cuts are all the ways to do that.
func cuts(t testing.TB) []cut {
	deny := rule(t, "no-put", Deny, string(CoAPPut))
	past := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	bob := User{Name: "bob", Role: "staff", Policies: []string{"extra"}}
	key := Key{Fingerprint: fingerprint(2), User: "bob", Name: "laptop", Origin: "manual"}
	with := func(k Key, change func(*Key)) Key { change(&k); return k }
	return []cut{
		{"the user", func(tx *Tx) error { return tx.RemoveUser("bob") }},
		{"the key", func(tx *Tx) error { return tx.RemoveKey(fingerprint(2)) }},
		{"the key given to somebody else", func(tx *Tx) error {
			return tx.SetKey(with(key, func(k *Key) { k.User = "greta" }))
		}},
		{"another role", func(tx *Tx) error { return tx.SetRole("bob", RoleGuest) }},
		{"a role made for it", func(tx *Tx) error {
			return errors.Join(tx.PutPolicy(deny), tx.PutRole(Role{Name: "less", Policies: []string{"no-put"}}), tx.SetRole("bob", "less"))
		}},
		{"an expiry of the user", func(tx *Tx) error { u := bob; u.Expires = past; return tx.SetUser(u) }},
		{"an expiry of the key", func(tx *Tx) error { return tx.SetKey(with(key, func(k *Key) { k.Expires = past })) }},
		{"a policy of the user", func(tx *Tx) error {
			u := bob
			u.Policies = append(u.Policies, "no-put")
			return errors.Join(tx.PutPolicy(deny), tx.SetUser(u))
		}},
		{"a policy of the key", func(tx *Tx) error {
			return errors.Join(tx.PutPolicy(deny), tx.SetKey(with(key, func(k *Key) { k.Policies = []string{"no-put"} })))
		}},
		{"a policy of the role", func(tx *Tx) error {
			return errors.Join(tx.PutPolicy(deny), tx.PutRole(Role{Name: "staff", Policies: []string{"no-put"}, Includes: []string{RoleUser}}))
		}},
		{"the role without what it included", func(tx *Tx) error { return tx.PutRole(Role{Name: "staff"}) }},
		{"a policy of an included role", func(tx *Tx) error { return tx.PutPolicy(rule(t, RoleUser, Allow, string(CoAPGet))) }},
		{"a name that policies know", func(tx *Tx) error {
			p, err := NewPolicy("extra", Statement{
				Effect: Deny, Actions: []string{"coap:put"}, Resources: []string{"**"},
				Conditions: []Condition{{Attribute: "connection.user", Operator: "equals", Values: []string{"bert"}}},
			})
			return errors.Join(err, tx.PutPolicy(p), tx.RenameUser("bob", "bert"))
		}},
		{"a backup from before", func(tx *Tx) error {
			_, err := tx.restore(&backupContent{})
			tx.Force()
			return errors.Join(err, putDefaults(tx))
		}},
	}
}

// cutScene is a store in which bob may all that a user may, anna administers it and
// greta is a guest.
func cutScene(t testing.TB) *Store {
	t.Helper()
	s := newStore(t)
	pair(t, s, "anna", RoleAdmin, 1)
	pair(t, s, "greta", RoleGuest, 3)
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.PutPolicy(rule(t, "extra", Allow, string(AuditRead))), tx.PutRole(Role{Name: "staff", Includes: []string{RoleUser, RoleGuest}}),
			tx.PutRole(Role{Name: RoleUser, Policies: []string{RoleUser}}), tx.AddUser(User{Name: "bob", Role: "staff", Policies: []string{"extra"}}),
			tx.AddKey(Key{Fingerprint: fingerprint(2), User: "bob", Name: "laptop", Origin: "manual"}))
	})
	return s
}

var cutTime = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

// may reports what key n is allowed, by Authorize and by Explain.
func may(t testing.TB, s *Store, n int, a Action) bool {
	t.Helper()
	r := &Request{Peer: fingerprint(n), Action: a, Resource: "/x", Time: cutTime}
	if subject, ok := s.Lookup(r.Peer); ok { // as the device does
		r.User, r.Role = subject.User, subject.Role
	}
	err := s.Authorize(t.Context(), r)
	if d := s.Explain(r); (d.Effect == Allow) != (err == nil) {
		t.Errorf("Authorize says %v, Explain %+v", err, d)
	}
	return err == nil
}

// Whatever takes a right away holds before it is written, and after it could not
// be, until it is written after all or the process ends.
func TestCutHolds(t *testing.T) {
	for _, c := range cuts(t) {
		t.Run(c.name, func(t *testing.T) {
			s := cutScene(t)
			if !may(t, s, 2, CoAPPut) {
				t.Fatal("bob may not put to begin with")
			}
			changed := s.Changed()
			s.commit = func(map[vault.ID]vault.Record) error {
				select {
				case <-changed:
				default:
					t.Error("nobody was told before it was written")
				}
				if may(t, s, 2, CoAPPut) {
					t.Error("allowed while it was written")
				}
				return errDisk
			}
			err := s.Update(c.fn)
			if !errors.Is(err, ErrHeld) || !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "a restart would undo") {
				t.Errorf("Update returns %v", err)
			}
			if s.Err() == nil {
				t.Error("Err has nothing to say")
			}
			s.commit = s.vault.Commit
			update(t, s, func(tx *Tx) error { return tx.SetSetting("a", "b") })
			pair(t, s, "dora", RoleAdmin, 7)
			if may(t, s, 2, CoAPPut) || !may(t, s, 7, CoAPPut) {
				t.Error("another change let bob in again, or held dora")
			}
			if r := s.Explain(&Request{Peer: fingerprint(2), Action: CoAPPut, Resource: "/x", Time: cutTime}).Reason; !strings.HasPrefix(r, "by a change that is not on disk yet: ") {
				t.Errorf("Explain says %q", r)
			}
			again := reopen(t, s)
			if !may(t, again, 2, CoAPPut) {
				t.Error("a restart did not undo it")
			}
			again.commit = refuse
			if err := again.Update(c.fn); !errors.Is(err, ErrHeld) {
				t.Errorf("Update returns %v", err)
			}
			again.commit = again.vault.Commit
			update(t, again, c.fn)
			if may(t, again, 2, CoAPPut) || again.now.Load().wished != nil || again.Err() != nil {
				t.Error("the change was made, and is not what holds")
			}
			if again = reopen(t, again); may(t, again, 2, CoAPPut) {
				t.Error("the change was undone by a restart")
			}
		})
	}
}

// A change that was held can be taken back.
func TestCutTakenBack(t *testing.T) {
	s := cutScene(t)
	s.commit = refuse
	if err := s.Update(func(tx *Tx) error { return tx.SetRole("bob", RoleGuest) }); !errors.Is(err, ErrHeld) {
		t.Fatal(err)
	}
	s.commit = s.vault.Commit
	update(t, s, func(tx *Tx) error { return tx.SetRole("bob", "staff") })
	if !may(t, s, 2, CoAPPut) || s.now.Load().wished != nil {
		t.Error("bob is still held")
	}
}

// What only gives rights and could not be written leaves nothing behind: no right,
// and nothing that stands in the way of another try.
func TestGrantFails(t *testing.T) {
	invite := Invite{ID: oldInvite, User: "carl", Role: RoleUser}
	for name, c := range map[string]struct {
		fn     func(*Tx) error
		action Action // that key 5 may not have
	}{
		"a pairing": {func(tx *Tx) error {
			return errors.Join(tx.AddUser(User{Name: "carl", Role: RoleUser}), tx.AddKey(Key{Fingerprint: fingerprint(5), User: "carl"}))
		}, CoAPPut},
		"a key":        {func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(5), User: "bob"}) }, CoAPPut},
		"a new policy": {func(tx *Tx) error { return tx.PutPolicy(rule(t, "more", Allow, "*")) }, CoAPPut},
		"a new role":   {func(tx *Tx) error { return tx.PutRole(Role{Name: "more", Includes: []string{RoleAdmin}}) }, CoAPPut},
		"a setting":    {func(tx *Tx) error { return tx.SetSetting("a", "b") }, CoAPPut},
		"an invitation that was used": {func(tx *Tx) error {
			return errors.Join(tx.RemoveInvite(oldInvite), tx.AddUser(User{Name: "carl", Role: RoleUser}), tx.AddKey(Key{Fingerprint: fingerprint(5), User: "carl"}))
		}, CoAPPut},
		"a failure of an invitation": {func(tx *Tx) error { i := invite; i.Failures++; return tx.PutInvite(i) }, CoAPPut},
	} {
		s := cutScene(t)
		update(t, s, func(tx *Tx) error { return tx.PutInvite(invite) })
		changed := s.Changed()
		s.commit = func(map[vault.ID]vault.Record) error {
			if !may(t, s, 5, PairInvite) {
				t.Errorf("%s: a stranger may not pair while it is written", name)
			}
			return errDisk
		}
		if err := s.Update(c.fn); !errors.Is(err, errDisk) || errors.Is(err, ErrHeld) {
			t.Errorf("%s: Update returns %v", name, err)
		}
		select {
		case <-changed:
			t.Errorf("%s: nothing changed, and everybody was woken", name)
		default:
		}
		_, there := inviteOf(t, s, oldInvite)
		if may(t, s, 5, c.action) || !may(t, s, 5, PairInvite) || !may(t, s, 2, CoAPPut) || !there || s.now.Load().wished != nil || s.Err() == nil {
			t.Errorf("%s: something is left of it", name)
		}
		s.commit = s.vault.Commit
		update(t, s, c.fn)
	}
}

func inviteOf(t testing.TB, s *Store, id string) (i Invite, ok bool) {
	t.Helper()
	if err := s.View(func(tx *Tx) error { i, ok = tx.Invite(id); return nil }); err != nil {
		t.Fatal(err)
	}
	return i, ok
}

// An invitation that was withdrawn is void, whether that is on disk or not.
func TestWithdrawnInviteHolds(t *testing.T) {
	s := cutScene(t)
	invite := Invite{ID: oldInvite, User: "carl", Role: RoleUser}
	update(t, s, func(tx *Tx) error { return tx.PutInvite(invite) })
	s.commit = refuse
	remove := func(tx *Tx) error { return tx.RemoveInvite(oldInvite) }
	if err := s.Update(remove); !errors.Is(err, ErrHeld) {
		t.Fatal(err)
	}
	s.commit = s.vault.Commit
	for _, look := range []func(func(*Tx) error) error{s.View, s.Update} {
		if err := look(func(tx *Tx) error {
			if _, ok := tx.Invite(oldInvite); ok || len(tx.Invites()) != 0 {
				t.Error("the invitation is there")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Update(func(tx *Tx) error { return tx.PutInvite(invite) }); !errors.Is(err, latchkey.ErrNotFound) {
		t.Errorf("a failure brings it back: %v", err)
	}
	if _, ok := inviteOf(t, reopen(t, s), oldInvite); !ok {
		t.Error("a restart did not undo it")
	}
}

// Failed changes do not pile up: what is kept in memory is no larger than the store.
func TestWishesStayFew(t *testing.T) {
	s := cutScene(t)
	s.commit = refuse
	for i := range 50 {
		_ = s.Update(func(tx *Tx) error {
			name := fmt.Sprintf("p%d", i)
			return errors.Join(tx.PutPolicy(rule(t, name, Deny, "*")), tx.PutRole(Role{Name: name, Policies: []string{name}}),
				tx.PutRole(Role{Name: name + "x", Includes: []string{name}}), tx.AddUser(User{Name: name, Role: name + "x"}),
				tx.AddKey(Key{Fingerprint: fingerprint(100 + i), User: name}), tx.SetRole("bob", name))
		})
	}
	if n := len(s.wishes); n != 3 { // bob, the role that he was to have last, and its policy
		t.Errorf("%d records are kept", n)
	}
	if may(t, s, 2, CoAPPut) {
		t.Error("bob may put")
	}
}

// Wishes that no longer fit what is on disk refuse, and only whom they are about.
func TestWishesThatContradict(t *testing.T) {
	s := cutScene(t)
	s.commit = refuse
	_ = s.Update(func(tx *Tx) error {
		return errors.Join(tx.PutPolicy(rule(t, "more", Allow, "*")), tx.PutRole(Role{Name: "staff", Policies: []string{"more"}}))
	})
	s.commit = s.vault.Commit
	update(t, s, func(tx *Tx) error { return tx.PutPolicy(rule(t, "more", Allow, "*")) })
	if !may(t, s, 2, CoAPPut) {
		t.Error("both allow it, and it is refused")
	}
	update(t, s, func(tx *Tx) error { return tx.RemovePolicy("more") })
	if may(t, s, 2, CoAPPut) || !may(t, s, 1, CoAPPut) {
		t.Error("bob may put, or anna may not")
	}
	update(t, s, func(tx *Tx) error { return tx.PutRole(Role{Name: "staff", Includes: []string{RoleUser}}) })
	if !may(t, s, 2, CoAPPut) {
		t.Error("bob is still held")
	}
}

// A key that was to follow a name is refused when the name is gone.
func TestWishesOfNobody(t *testing.T) {
	s := cutScene(t)
	s.commit = refuse
	_ = s.Update(func(tx *Tx) error { return tx.RenameUser("bob", "bert") })
	s.commit = s.vault.Commit
	if !may(t, s, 2, CoAPPut) {
		t.Error("both names may, and it is refused")
	}
	update(t, s, func(tx *Tx) error { return tx.AddUser(User{Name: "bert", Role: RoleGuest}) })
	if may(t, s, 2, CoAPPut) || !may(t, s, 2, SelfRead) {
		t.Error("not what both names may")
	}
	update(t, s, func(tx *Tx) error { return tx.RemoveUser("bert") })
	if may(t, s, 2, SelfRead) || !may(t, s, 1, CoAPPut) {
		t.Error("bob may, or anna may not")
	}
	update(t, s, func(tx *Tx) error { return tx.RenameUser("bob", "bert") })
	if !may(t, s, 2, CoAPPut) {
		t.Error("bert is still held")
	}
}

// drawRule returns a random change of who may what.
func drawRule(t *rapid.T) func(*Tx) error {
	user := rapid.SampledFrom([]string{"anna", "bob", "carl"}).Draw(t, "user")
	role := rapid.SampledFrom([]string{RoleGuest, RoleUser, "r", "s"}).Draw(t, "role")
	policy := rapid.SampledFrom([]string{RoleGuest, RoleUser, "p", "q"}).Draw(t, "policy")
	key := rapid.IntRange(1, 4).Draw(t, "key")
	effect := rapid.SampledFrom([]Effect{Allow, Deny}).Draw(t, "effect")
	action := rapid.SampledFrom([]string{"*", "coap:*", "coap:put", "tunnel:open"}).Draw(t, "action")
	p, err := NewPolicy(policy, Statement{Effect: effect, Actions: []string{action}, Resources: []string{"**"}})
	if err != nil {
		t.Fatal(err)
	}
	return rapid.SampledFrom([]func(*Tx) error{
		func(tx *Tx) error { return tx.AddUser(User{Name: user, Role: role}) },
		func(tx *Tx) error { return tx.SetUser(User{Name: user, Role: role, Policies: []string{policy}}) },
		func(tx *Tx) error { return tx.RemoveUser(user) },
		func(tx *Tx) error { return tx.RenameUser(user, user+"2") },
		func(tx *Tx) error { return tx.RenameUser(user+"2", user) },
		func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(key), User: user}) },
		func(tx *Tx) error {
			return tx.SetKey(Key{Fingerprint: fingerprint(key), User: user, Policies: []string{policy}})
		},
		func(tx *Tx) error { return tx.RemoveKey(fingerprint(key)) },
		func(tx *Tx) error { return tx.PutPolicy(p) },
		func(tx *Tx) error { return tx.RemovePolicy(policy) },
		func(tx *Tx) error { return tx.PutRole(Role{Name: role, Policies: []string{policy}}) },
		func(tx *Tx) error { return tx.PutRole(Role{Name: role, Includes: []string{RoleGuest}}) },
		func(tx *Tx) error { return tx.RemoveRole(role) },
	}).Draw(t, "change")
}

// rights lists what every key may do.
func rights(t testing.TB, s *Store) map[string]bool {
	out := make(map[string]bool)
	for n := range 5 {
		for _, a := range []Action{CoAPGet, CoAPPut, TunnelOpen, PairInvite, SelfRead} {
			out[fmt.Sprint(n, a)] = may(t, s, n, a)
		}
	}
	return out
}

// TestOverlayEqualsModel runs changes, some of which cannot be written, on a store;
// those that can, on a twin of it as well. The store never allows what the twin
// refuses; right after a failed change nothing that a store with the change
// refuses; and what the twin allows once all failed changes are made good.
func TestOverlayEqualsModel(t *testing.T) {
	dir, runs := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		fresh := func(name string) *Store {
			s, err := Create(filepath.Join(dir, fmt.Sprint(runs), name, "access.db"))
			if err != nil {
				rt.Fatal(err)
			}
			return s
		}
		s, twin := fresh("store"), fresh("twin")
		defer s.Close()
		defer twin.Close()
		twin.commit = func(map[vault.ID]vault.Record) error { return nil } // it need not outlive the test
		subset := func(what string, of map[string]bool) {
			for right, ok := range rights(t, s) {
				if ok && !of[right] {
					rt.Fatalf("%s: %s is allowed", what, right)
				}
			}
		}
		for n := range 8 {
			change := drawRule(rt)
			if rapid.IntRange(0, 2).Draw(rt, "fault") > 0 {
				if got, want := s.Update(change), twin.Update(change); (got == nil) != (want == nil) {
					rt.Fatalf("%v, and the twin says %v", got, want)
				}
				subset("a change", rights(t, twin))
				continue
			}
			s.commit = refuse
			err := s.Update(change)
			s.commit = s.vault.Commit
			subset("a failed change", rights(t, twin))
			if errors.Is(err, errDisk) {
				with := copyOf(t, twin, filepath.Join(dir, fmt.Sprint(runs), fmt.Sprint(n)))
				update(t, with, change)
				if errors.Is(err, ErrHeld) {
					subset("a change that holds", rights(t, with))
				}
				with.Close()
			}
		}
		again := reopenPath(t, s)
		defer again.Close()
		if got, want := rights(t, again), rights(t, twin); !maps.Equal(got, want) {
			rt.Fatalf("after a restart: %v, want %v", got, want)
		}
	})
}

// copyOf returns a new store with the content of s.
func copyOf(t testing.TB, s *Store, path string) *Store {
	t.Helper()
	var text bytes.Buffer
	other, err := Create(filepath.Join(path, "access.db"))
	if err := errors.Join(err, s.Backup(&text)); err != nil {
		t.Fatal(err)
	}
	other.commit = func(map[vault.ID]vault.Record) error { return nil }
	if _, err := other.Restore(&text); err != nil {
		t.Fatal(err)
	}
	return other
}

func reopenPath(t testing.TB, s *Store) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(s.path)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// Who brings a token is held like everybody else, and so is who is only asked about.
func TestCutHoldsForTokens(t *testing.T) {
	s := cutScene(t)
	r := &Request{
		Peer: fingerprint(8), Action: CoAPPut, Resource: "/x", Time: cutTime,
		Token: &Token{Role: "staff", Expires: cutTime.Add(time.Hour)},
	}
	asked := &Request{User: "bob", Action: CoAPPut, Resource: "/x", Time: cutTime}
	if err := s.Authorize(t.Context(), r); err != nil || s.Explain(asked).Effect != Allow {
		t.Fatal(err)
	}
	s.commit = refuse
	if err := s.Update(func(tx *Tx) error { return tx.PutRole(Role{Name: "staff"}) }); !errors.Is(err, ErrHeld) {
		t.Fatal(err)
	}
	if err := s.Authorize(t.Context(), r); !errors.Is(err, latchkey.ErrForbidden) || s.Explain(asked).Effect == Allow {
		t.Errorf("a token of a role that was narrowed: %v", err)
	}
}

// An end that is not on disk yet is the end.
func TestLookupTellsTheHeldExpiry(t *testing.T) {
	s := cutScene(t)
	s.commit = refuse
	for _, end := range []time.Time{cutTime, cutTime.Add(-time.Hour)} {
		if err := s.Update(func(tx *Tx) error {
			return tx.SetUser(User{Name: "bob", Role: "staff", Policies: []string{"extra"}, Expires: end})
		}); !errors.Is(err, ErrHeld) {
			t.Fatal(err)
		}
		if subject, ok := s.Lookup(fingerprint(2)); !ok || !subject.Expires.Equal(end) {
			t.Errorf("%+v, want the end %s", subject, end)
		}
	}
}
