package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
)

// withdrawalBound is within what a basestation has to know that a key is nobody's
// any more.
const withdrawalBound = 5 * time.Second

// allows is a policy that allows actions everywhere.
func allows(t *testing.T, name string, actions ...string) *acl.Policy {
	t.Helper()
	p, err := acl.NewPolicy(name, acl.Statement{Effect: acl.Allow, Actions: actions, Resources: []string{"**"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// update changes a store.
func update(t *testing.T, store *acl.Store, f func(tx *acl.Tx) error) {
	t.Helper()
	if err := store.Update(f); err != nil {
		t.Fatal(err)
	}
}

// A taking is a way to take everything from somebody.
type taking struct {
	name string
	role string                                                                 // that the victim has at first; "": staff
	give func(tx *acl.Tx, user string, key latchkey.Fingerprint) error          // what it has beside that; nil: nothing
	take func(tx *acl.Tx, user string, key latchkey.Fingerprint) error          // and how it loses all
	keep bool                                                                   // the key stays that of a user
	over func(tx *acl.Tx, user string, key latchkey.Fingerprint) (at time.Time) // when it ends; nil: at once
}

// everything is a policy by which one can do what a ledger does.
const everything = "everything"

// takings are all ways to take rights but for a token's, which TestTokenEnds has.
func takings(t *testing.T) []taking {
	narrow := allows(t, everything, "coap:delete")
	remove := func(name string) func(*acl.Tx, string, latchkey.Fingerprint) error {
		return func(tx *acl.Tx, user string, key latchkey.Fingerprint) error {
			u, _ := tx.User(user)
			u.Policies = nil
			k, _ := tx.Key(key)
			k.Policies = nil
			return errors.Join(tx.SetUser(u), tx.SetKey(k), tx.RemovePolicy(name))
		}
	}
	own := func(tx *acl.Tx, user string, _ latchkey.Fingerprint) error {
		u, _ := tx.User(user)
		u.Policies = []string{"own"}
		return errors.Join(tx.PutPolicy(allows(t, "own", "coap:*", "tunnel:*")), tx.SetUser(u))
	}
	return []taking{
		{name: "the user is removed", take: func(tx *acl.Tx, user string, _ latchkey.Fingerprint) error { return tx.RemoveUser(user) }},
		{name: "the key is removed", take: func(tx *acl.Tx, _ string, key latchkey.Fingerprint) error { return tx.RemoveKey(key) }},
		{name: "another role", keep: true, take: func(tx *acl.Tx, user string, _ latchkey.Fingerprint) error { return tx.SetRole(user, acl.RoleGuest) }},
		{name: "the role loses a policy", keep: true, take: func(tx *acl.Tx, _ string, _ latchkey.Fingerprint) error {
			return tx.PutRole(acl.Role{Name: "staff", Policies: []string{acl.RoleGuest}})
		}},
		{name: "the role loses a role", role: "team", keep: true, take: func(tx *acl.Tx, _ string, _ latchkey.Fingerprint) error {
			return tx.PutRole(acl.Role{Name: "team", Includes: []string{acl.RoleGuest}})
		}},
		{name: "the policy is narrowed", keep: true, take: func(tx *acl.Tx, _ string, _ latchkey.Fingerprint) error { return tx.PutPolicy(narrow) }},
		{name: "the user's own policy is removed", role: acl.RoleGuest, give: own, take: remove("own"), keep: true},
		{name: "the user is denied", keep: true, take: func(tx *acl.Tx, user string, _ latchkey.Fingerprint) error {
			ban, err := acl.NewPolicy("ban", acl.Statement{Effect: acl.Deny, Actions: []string{"coap:*", "tunnel:*"}, Resources: []string{"**"}})
			if err != nil {
				return err
			}
			u, _ := tx.User(user)
			u.Policies = []string{"ban"}
			return errors.Join(tx.PutPolicy(ban), tx.SetUser(u))
		}},
		{name: "the key is denied", keep: true, take: func(tx *acl.Tx, _ string, key latchkey.Fingerprint) error {
			ban, err := acl.NewPolicy("ban", acl.Statement{Effect: acl.Deny, Actions: []string{"*"}, Resources: []string{"**"}})
			if err != nil {
				return err
			}
			k, _ := tx.Key(key)
			k.Policies = []string{"ban"}
			return errors.Join(tx.PutPolicy(ban), tx.SetKey(k))
		}},
		{name: "the user has expired", take: func(tx *acl.Tx, user string, _ latchkey.Fingerprint) error {
			u, _ := tx.User(user)
			u.Expires = time.Now().Add(-time.Second)
			return tx.SetUser(u)
		}},
		{name: "the user expires", take: func(tx *acl.Tx, user string, _ latchkey.Fingerprint) error {
			u, _ := tx.User(user)
			u.Expires = time.Now().Add(500 * time.Millisecond)
			return tx.SetUser(u)
		}, over: func(tx *acl.Tx, user string, _ latchkey.Fingerprint) time.Time {
			u, _ := tx.User(user)
			return u.Expires
		}},
		{name: "the key expires", take: func(tx *acl.Tx, _ string, key latchkey.Fingerprint) error {
			k, _ := tx.Key(key)
			k.Expires = time.Now().Add(500 * time.Millisecond)
			return tx.SetKey(k)
		}, over: func(tx *acl.Tx, _ string, key latchkey.Fingerprint) time.Time {
			k, _ := tx.Key(key)
			return k.Expires
		}},
	}
}

// TestEveryRevocation takes everything from a user who has a request in a handler,
// an observation and a tunnel under way by a relay. All three end with the reason,
// and nobody else's do. If the key is nobody's any more the basestation does not
// let it in.
func TestEveryRevocation(t *testing.T) {
	l := newLedger(t)
	defer l.close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := newSite(t, func(d *device.Device) {
		d.Handler = l.handler()
		d.Services = []device.Service{{ID: "echo", Target: "tcp://" + echo(t, "tcp", "127.0.0.1:0").Addr().String()}}
	})
	put := func(tx *acl.Tx) error {
		return errors.Join(
			tx.PutPolicy(allows(t, everything, "coap:*", "tunnel:*", "self:*")),
			tx.PutRole(acl.Role{Name: "staff", Policies: []string{everything}}),
			tx.PutRole(acl.Role{Name: "team", Includes: []string{"staff"}}),
		)
	}
	update(t, s.access, put)
	neighbour := dial(t, admit(t, s.device, s.access, "nora", acl.RoleUser))
	l.begin(ctx, "nora", neighbour)
	for i, tt := range takings(t) {
		t.Run(tt.name, func(t *testing.T) {
			l.t = t
			defer update(t, s.access, put)
			user := fmt.Sprintf("vic%d", i)
			if tt.role == "" {
				tt.role = "staff"
			}
			version := s.store.TokensVersion(gw1)
			c := admit(t, s.device, s.access, user, tt.role)
			key := identityOf(t, c).Fingerprint()
			spare := newIdentity(t).Fingerprint()
			update(t, s.access, func(tx *acl.Tx) error {
				err := tx.AddKey(acl.Key{Fingerprint: spare, User: user, Added: time.Now(), Origin: "manual"})
				if err == nil && tt.give != nil {
					err = tt.give(tx, user, key)
				}
				return err
			})
			s.version(version + 1)
			token := s.learned(c)
			check := func() error { return s.store.Check(gw1, token.Hash(), key, time.Now()) }
			await(t, "the gate lets the victim in", func() bool { return check() == nil })
			conn, err := c.DialWith(deadline(t), "home", client.DialOptions{Via: client.ViaRelay})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			l.begin(ctx, user, conn)

			from := time.Now()
			update(t, s.access, func(tx *acl.Tx) error { return tt.take(tx, user, key) })
			if tt.over != nil {
				_ = s.access.View(func(tx *acl.Tx) error { from = tt.over(tx, user, key); return nil })
			}
			inTime(t, tt.name, from, l.ends(user, latchkey.ErrRevoked))
			l.unharmed("nora", neighbour)
			if tt.keep {
				if _, err := conn.Get(deadline(t), "/state"); !errors.Is(err, latchkey.ErrForbidden) {
					t.Errorf("a new request: %v", err)
				}
				if err := check(); err != nil {
					t.Errorf("the gate: %v", err)
				}
				return
			}
			await(t, "the gate does not let the victim in", func() bool { return check() != nil })
			if took := time.Since(from); took > withdrawalBound && judgesRevoked {
				t.Errorf("the gate knew after %v", took)
			}
			if again, err := c.DialWith(deadline(t), "home", client.DialOptions{Via: client.ViaRelay}); !errors.Is(err, latchkey.ErrForbidden) {
				t.Errorf("again by the relay: %v, %v", again, err)
			}
		})
	}
}

// TestOnlyWhatIsForbiddenEnds takes one right of three.
func TestOnlyWhatIsForbiddenEnds(t *testing.T) {
	for what, action := range map[string]string{"request": "coap:get", "observation": "coap:observe", "tunnel": "tunnel:open"} {
		t.Run(what, func(t *testing.T) {
			l := newLedger(t)
			defer l.close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			store := newStore(t)
			td := serve(t, &device.Device{
				Identity: newIdentity(t), Access: store, Handler: l.handler(),
				Services: []device.Service{{ID: "echo", Target: "tcp://" + echo(t, "tcp", "127.0.0.1:0").Addr().String()}},
			})
			conn := dial(t, admit(t, td, store, "vic", acl.RoleUser))
			l.begin(ctx, "vic", conn)
			ban, err := acl.NewPolicy("ban", acl.Statement{Effect: acl.Deny, Actions: []string{action}, Resources: []string{"**"}})
			if err != nil {
				t.Fatal(err)
			}
			update(t, store, func(tx *acl.Tx) error {
				u, _ := tx.User("vic")
				u.Policies = []string{"ban"}
				return errors.Join(tx.PutPolicy(ban), tx.SetUser(u))
			})
			select {
			case e := <-l.ended:
				if e.what != what || !errors.Is(e.err, latchkey.ErrRevoked) {
					t.Errorf("the %s ended with %v", e.what, e.err)
				}
			case <-time.After(patience):
				t.Fatal("nothing ended")
			}
			// Whatever else were to end would have been judged by the time that one
			// more change has been.
			update(t, store, func(tx *acl.Tx) error { return tx.SetSetting("a-test", "x") })
			if _, err := conn.Get(deadline(t), "/me"); err != nil {
				t.Errorf("the session: %v", err)
			}
			select {
			case e := <-l.ended:
				t.Errorf("the %s ended with %v", e.what, e.err)
			default:
			}
		})
	}
}
