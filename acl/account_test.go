package acl

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// view runs fn on the present state.
func view(t testing.TB, s *Store, fn func(*Tx)) {
	t.Helper()
	if err := s.View(func(tx *Tx) error { fn(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

// Every change of an account, and nothing else, changes its version.
func TestAccountVersions(t *testing.T) {
	s := newStore(t)
	pair(t, s, "anna", RoleAdmin, 1)
	seen := map[string]string{}
	look := func(what string, fresh bool) string {
		var version string
		view(t, s, func(tx *Tx) {
			a, ok := tx.Account("anna")
			if all := tx.Accounts(); !ok || len(all) == 0 || text(t, all[0]) != text(t, a) {
				t.Errorf("%s: one by one: %+v; in the list: %+v", what, a, all)
			}
			version = a.Version
		})
		if before, known := seen[version]; known == fresh || len(version) != 16 {
			t.Errorf("%s: version %q, as after %q", what, version, before)
		}
		seen[version] = what
		return version
	}
	first := look("the beginning", true)
	for _, c := range []struct {
		name  string
		fn    func(*Tx) error
		fresh bool
	}{
		{"a setting", func(tx *Tx) error { return tx.SetSetting("a", "b") }, false},
		{"another user", func(tx *Tx) error { return tx.AddUser(User{Name: "bob", Role: RoleUser}) }, false},
		{"a key of another user", func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(2), User: "bob"}) }, false},
		{"the same again", func(tx *Tx) error { return tx.SetRole("anna", RoleAdmin) }, false},
		{"an expiry", func(tx *Tx) error {
			return tx.SetUser(User{Name: "anna", Role: RoleAdmin, Expires: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)})
		}, true},
		{"a policy", func(tx *Tx) error {
			return tx.SetUser(User{Name: "anna", Role: RoleAdmin, Policies: []string{RoleGuest}})
		}, true},
		{"a key more", func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(3), User: "anna", Name: "phone"}) }, true},
		{"a key's name", func(tx *Tx) error { return tx.SetKey(Key{Fingerprint: fingerprint(3), User: "anna", Name: "tablet"}) }, true},
		{"a key less", func(tx *Tx) error { return tx.RemoveKey(fingerprint(1)) }, true},
	} {
		update(t, s, c.fn)
		look(c.name, c.fresh)
	}
	view(t, s, func(tx *Tx) {
		now, _ := tx.Account("anna")
		for _, c := range []struct {
			user, version string
			want          error
		}{
			{"anna", "", nil},
			{"anna", now.Version, nil},
			{"anna", first, latchkey.ErrConflict},
			{"anna", "x", latchkey.ErrConflict},
			{"nobody", "", nil},
			{"nobody", first, latchkey.ErrNotFound},
		} {
			if err := tx.CheckVersion(c.user, c.version); !errors.Is(err, c.want) {
				t.Errorf("%s %q: %v", c.user, c.version, err)
			}
		}
		if _, ok := tx.Account("nobody"); ok {
			t.Error("an account of nobody")
		}
	})
}

func TestRuleVersions(t *testing.T) {
	s := newStore(t)
	var role, policy string
	view(t, s, func(tx *Tx) { role, policy = tx.RoleVersion(RoleGuest), tx.PolicyVersion(RoleGuest) })
	update(t, s, func(tx *Tx) error {
		err := errors.Join(tx.CheckRoleVersion(RoleGuest, role), tx.CheckPolicyVersion(RoleGuest, policy),
			tx.PutRole(Role{Name: RoleGuest, Policies: []string{RoleGuest}, Includes: []string{RoleUnpaired}}))
		p, e := NewPolicy(RoleGuest)
		return errors.Join(err, e, tx.PutPolicy(p))
	})
	view(t, s, func(tx *Tx) {
		if err := tx.CheckRoleVersion(RoleGuest, role); !errors.Is(err, latchkey.ErrConflict) {
			t.Error(err)
		}
		if err := tx.CheckPolicyVersion(RoleGuest, policy); !errors.Is(err, latchkey.ErrConflict) {
			t.Error(err)
		}
		if err := tx.CheckRoleVersion("king", role); !errors.Is(err, latchkey.ErrNotFound) {
			t.Error(err)
		}
		if tx.RoleVersion("king") != "" || tx.PolicyVersion("king") != "" {
			t.Error("a version of nothing")
		}
	})
}

func TestRenameUser(t *testing.T) {
	s := newStore(t)
	pair(t, s, "anna", RoleAdmin, 1)
	pair(t, s, "bob", RoleUser, 2)
	invite := Invite{ID: oldInvite, User: "Anna", Role: RoleGuest}
	update(t, s, func(tx *Tx) error { return tx.PutInvite(invite) })
	for to, want := range map[string]error{"bob": latchkey.ErrConflict, "BOB": latchkey.ErrConflict, "../x": nil, "": nil} {
		err := s.Update(func(tx *Tx) error { return tx.RenameUser("anna", to) })
		var m *Mistake
		if err == nil || want != nil && !errors.Is(err, want) || want == nil && !errors.As(err, &m) {
			t.Errorf("%q: %v", to, err)
		}
	}
	if err := s.Update(func(tx *Tx) error { return tx.RenameUser("carl", "dora") }); !errors.Is(err, latchkey.ErrNotFound) {
		t.Error(err)
	}
	from := "anna"
	for _, to := range []string{"ANNA", "ANNA", "zoe"} { // the last administrator, too
		update(t, s, func(tx *Tx) error { return tx.RenameUser(from, to) })
		from = to
		if subject, ok := s.Lookup(fingerprint(1)); !ok || subject.User != to || subject.Role != RoleAdmin || subject.KeyName != "laptop" {
			t.Errorf("%q: %+v", to, subject)
		}
		if i, _ := inviteOf(t, s, oldInvite); i.User != to {
			t.Errorf("%q: the invitation is for %q", to, i.User)
		}
		s = reopen(t, s)
		view(t, s, func(tx *Tx) {
			if got := len(tx.Users()); got != 2 || len(tx.Keys(to)) != 1 {
				t.Errorf("%q: %d users", to, got)
			}
		})
		if err := s.Update(func(tx *Tx) error { return tx.AddUser(User{Name: strings.ToLower(to), Role: RoleUser}) }); !errors.Is(err, latchkey.ErrConflict) {
			t.Errorf("%q: a twin: %v", to, err)
		}
	}
	update(t, s, func(tx *Tx) error { return tx.AddUser(User{Name: "anna", Role: RoleGuest}) }) // the name is free
}

// Removed keys are remembered, until they are added again or too many others were
// removed.
func TestRevoked(t *testing.T) {
	s := newStore(t)
	pair(t, s, "anna", RoleAdmin, 1)
	pair(t, s, "bob", RoleUser, 2)
	revoked := func(n int) (ok bool) {
		t.Helper()
		view(t, s, func(tx *Tx) {
			at, there := tx.Revoked(fingerprint(n))
			if ok = there; ok && time.Since(at) > time.Minute || !ok && !at.IsZero() {
				t.Errorf("key %d was removed at %s", n, at)
			}
		})
		return ok
	}
	update(t, s, func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(3), User: "bob"}) })
	update(t, s, func(tx *Tx) error { return tx.RemoveKey(fingerprint(2)) })
	if !revoked(2) || revoked(3) {
		t.Error("not what was removed")
	}
	update(t, s, func(tx *Tx) error { return tx.RemoveUser("bob") })
	if s = reopen(t, s); !revoked(2) || !revoked(3) || revoked(1) {
		t.Error("after a restart: not what was removed")
	}
	update(t, s, func(tx *Tx) error { return tx.AddKey(Key{Fingerprint: fingerprint(2), User: "anna"}) })
	if revoked(2) {
		t.Error("a key that was added again")
	}
	for i := range 3 { // as many as there may be, and three more
		update(t, s, func(tx *Tx) error {
			for j := range MaxRevoked {
				if j%3 == i {
					if err := tx.revoke(fingerprint(1000+j), "bob"); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if revoked(3) || !revoked(1001) {
		t.Error("the oldest is there, or another is not")
	}
	if n := len(reopen(t, s).now.Load().revoked); n != MaxRevoked {
		t.Errorf("%d keys are remembered", n)
	}
}

// A role has the policies of the roles that it includes, however far away.
func TestIncludes(t *testing.T) {
	s := newStore(t)
	role := func(name string, policies []string, includes ...string) func(*Tx) error {
		return func(tx *Tx) error { return tx.PutRole(Role{Name: name, Policies: policies, Includes: includes}) }
	}
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.PutPolicy(rule(t, "no-put", Deny, string(CoAPPut))), role("a", nil, "b", "c")(tx), role("b", []string{RoleUser}, "d")(tx),
			role("c", nil, "d", RoleGuest)(tx), role("d", []string{"no-put", RoleUser})(tx),
			tx.AddUser(User{Name: "bob", Role: "a"}), tx.AddKey(Key{Fingerprint: fingerprint(1), User: "bob"}))
	})
	for a, want := range map[Action]bool{CoAPGet: true, TunnelOpen: true, SelfRead: true, CoAPPut: false, UserList: false} {
		if got := may(t, s, 1, a); got != want {
			t.Errorf("%s: %t", a, got)
		}
	}
	if d := s.Explain(&Request{Role: "a", Action: CoAPGet, Resource: "/x"}); d.Effect != Allow || len(d.Trace) != 4 {
		t.Errorf("a policy that comes twice is asked twice: %+v", d)
	}
	var chain []func(*Tx) error
	for i := range 5 {
		chain = append(chain, func(tx *Tx) error {
			var own []string
			for j := range MaxAttached {
				name := fmt.Sprintf("p-%d-%d", i, j)
				own = append(own, name)
				if err := tx.PutPolicy(rule(t, name, Allow, "*")); err != nil {
					return err
				}
			}
			return role(fmt.Sprintf("r%d", i), own)(tx)
		})
	}
	for name, c := range map[string]struct {
		fn   func(*Tx) error
		want error
		text string
	}{
		"itself":   {role("d", nil, "d"), latchkey.ErrConflict, "d includes d"},
		"a circle": {role("d", nil, "a"), latchkey.ErrConflict, " includes "},
		"missing":  {role("d", nil, "king"), latchkey.ErrNotFound, `"king"`},
		"twice":    {role("d", nil, RoleGuest, RoleGuest), latchkey.ErrConflict, "twice"},
		"removed":  {func(tx *Tx) error { return tx.RemoveRole("d") }, latchkey.ErrConflict, "has it"},
		"too many": {role("d", nil, make([]string, MaxAttached+1)...), latchkey.ErrTooMany, "17 roles"},
		"too many each": {func(tx *Tx) error {
			return errors.Join(append(chainOf(tx, chain), role("all", nil, "r0", "r1", "r2", "r3", "r4")(tx))...)
		}, latchkey.ErrTooMany, "80 policies"},
	} {
		if err := s.Update(c.fn); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	update(t, s, func(tx *Tx) error {
		return errors.Join(append(chainOf(tx, chain), role("all", nil, "r0", "r1", "r2", "r3")(tx))...)
	})
	reopen(t, s)
}

func chainOf(tx *Tx, fns []func(*Tx) error) (errs []error) {
	for _, fn := range fns {
		errs = append(errs, fn(tx))
	}
	return errs
}
