package e2e

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/pairing"
)

// relayedTo is a session of somebody by way of the relay, and by nothing else.
func (s *site) relayedTo(c *client.Client) *client.Conn {
	s.t.Helper()
	token := s.learned(c)
	key := identityOf(s.t, c).Fingerprint()
	await(s.t, "the gate knows the key", func() bool { return s.store.Check(gw1, token.Hash(), key, time.Now()) == nil })
	conn, err := c.DialWith(deadline(s.t), "home", client.DialOptions{Via: client.ViaRelay})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	if p := conn.Path(); p.Kind != "relay" {
		s.t.Fatalf("path %+v", p)
	}
	return conn
}

// deeds are the calls by which somebody manages the device or others. The user
// target and everything else that they name is there.
func deeds(t *testing.T, conn *client.Conn, target string, key latchkey.Fingerprint) map[string]error {
	t.Helper()
	ctx, none := deadline(t), client.Terms{}
	err := func(_ any, err error) error { return err }
	three := func(_, _ any, err error) error { return err }
	name := "a name"
	policy := allows(t, "fresh", "coap:get")
	list := map[string]error{
		"list users":      err(conn.Users(ctx)),
		"show a user":     err(conn.User(ctx, target)),
		"add a user":      err(conn.AddUser(ctx, "newcomer", client.NewUser{})),
		"set a role":      err(conn.SetRole(ctx, target, acl.RoleGuest, none)),
		"set an expiry":   err(conn.SetExpiry(ctx, target, time.Now().Add(time.Hour), none)),
		"set policies":    err(conn.SetPolicies(ctx, target, nil, none)),
		"change a key":    err(conn.ChangeKey(ctx, target, key, client.KeyChange{Name: &name}, none)),
		"add a key":       err(conn.AddKey(ctx, target, newIdentity(t).Fingerprint(), client.NewKey{}, none)),
		"list roles":      err(conn.Roles(ctx)),
		"show a role":     err(conn.Role(ctx, acl.RoleGuest)),
		"put a role":      err(conn.PutRole(ctx, acl.Role{Name: "fresh"}, none)),
		"remove a role":   conn.RemoveRole(ctx, "fresh", none),
		"list policies":   err(conn.Policies(ctx)),
		"show a policy":   three(conn.Policy(ctx, acl.RoleGuest)),
		"put a policy":    err(conn.PutPolicy(ctx, policy, none)),
		"remove a policy": conn.RemovePolicy(ctx, "fresh", none),
		"invite":          err(conn.Invite(ctx, "invited", acl.RoleGuest, time.Hour)),
		"list invites":    err(conn.Invites(ctx)),
		"name the device": conn.SetName(ctx, "Kitchen"),
		"read settings":   err(conn.Settings(ctx)),
		"open a mode":     conn.SetPairing(ctx, pairing.Invite, true, time.Hour),
		"read the audit":  err(conn.Audit(ctx, 0)),
		"rename a user":   err(conn.RenameUser(ctx, target, target+"2", none)),
		"remove a key":    conn.RemoveKey(ctx, target+"2", key, none),
		"remove a user":   conn.RemoveUser(ctx, target+"2", none),
	}
	return list
}

// TestAdministrationFromAfar does everything that an administrator can do by way
// of the relay.
func TestAdministrationFromAfar(t *testing.T) {
	s := newSite(t, nil)
	owner, _ := s.own()
	conn := s.relayedTo(owner)
	vic := admit(t, s.device, s.access, "vic", acl.RoleUser)
	for deed, err := range deeds(t, conn, "vic", identityOf(t, vic).Fingerprint()) {
		// A device that keeps no directory has no audit log to read.
		if err != nil && !(deed == "read the audit" && errors.Is(err, latchkey.ErrNotFound)) {
			t.Errorf("%s: %v", deed, err)
		}
	}
	if list := users(t, s.access); list["newcomer"] == "" || list["vic"] != "" || list["vic2"] != "" {
		t.Errorf("users %v", list)
	}
}

// TestGuestManagesItself and nobody else, from afar as well.
func TestGuestManagesItself(t *testing.T) {
	s := newSite(t, nil)
	s.own()
	gus := admit(t, s.device, s.access, "gus", acl.RoleGuest)
	vic := admit(t, s.device, s.access, "vic", acl.RoleUser)
	conn := s.relayedTo(gus)
	before := fmt.Sprint(accounts(t, s.access))
	for deed, err := range deeds(t, conn, "vic", identityOf(t, vic).Fingerprint()) {
		if !errors.Is(err, latchkey.ErrForbidden) {
			t.Errorf("%s: %v", deed, err)
		}
	}
	if after := fmt.Sprint(accounts(t, s.access)); after != before {
		t.Errorf("a guest changed something:\n%s\n%s", before, after)
	}
	// Its own rights are not its own affair either.
	ctx, none := deadline(t), client.Terms{}
	for deed, err := range map[string]error{
		"role":     second(conn.SetRole(ctx, "gus", acl.RoleAdmin, none)),
		"expiry":   second(conn.SetExpiry(ctx, "gus", time.Time{}, none)),
		"policies": second(conn.SetPolicies(ctx, "gus", []string{acl.RoleAdmin}, none)),
	} {
		if !errors.Is(err, latchkey.ErrForbidden) {
			t.Errorf("its own %s: %v", deed, err)
		}
	}
	spare, all := newIdentity(t).Fingerprint(), []string{acl.RoleAdmin}
	me, err := conn.User(ctx, "gus")
	if err != nil || len(me.Keys) != 1 {
		t.Fatalf("itself: %+v, %v", me, err)
	}
	if me, err = conn.AddKey(ctx, "gus", spare, client.NewKey{Name: "phone"}, client.Terms{Version: me.Version}); err != nil || len(me.Keys) != 2 {
		t.Errorf("a further key: %+v, %v", me, err)
	}
	if _, err := conn.ChangeKey(ctx, "gus", spare, client.KeyChange{Policies: &all}, none); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("policies for its key: %v", err)
	}
	if err := conn.RemoveKey(ctx, "gus", spare, none); err != nil {
		t.Errorf("a key of its own: %v", err)
	}
	if _, err := conn.RenameUser(ctx, "gus", "owner", none); !errors.Is(err, latchkey.ErrConflict) {
		t.Errorf("the name of somebody else: %v", err)
	}
	if me, err = conn.RenameUser(ctx, "gus", "august", none); err != nil || me.Name != "august" || me.Role != acl.RoleGuest {
		t.Errorf("another name: %+v, %v", me, err)
	}
	if _, err := conn.User(ctx, "gus"); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("by the name that it had: %v", err)
	}
	if err := conn.RemoveUser(ctx, "august", none); err != nil {
		t.Errorf("itself: %v", err)
	}
	<-conn.Context().Done()
	if list := users(t, s.access); len(list) != 2 {
		t.Errorf("users %v", list)
	}
}

func second[T any](_ T, err error) error { return err }

// accounts is all that a store knows about users.
func accounts(t *testing.T, store *acl.Store) (list []acl.Account) {
	t.Helper()
	if err := store.View(func(tx *acl.Tx) error { list = tx.Accounts(); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestTwoAdministrators change one user at the same time, each on the version that
// it has read, and read again when they are told to. Nothing that was
// acknowledged is lost.
func TestTwoAdministrators(t *testing.T) {
	s := newSite(t, nil)
	first, _ := s.own()
	conns := []*client.Conn{
		s.relayedTo(first), s.relayedTo(admit(t, s.device, s.access, "ada", acl.RoleAdmin)),
		dial(t, admit(t, s.device, s.access, "bea", acl.RoleAdmin)),
	}
	admit(t, s.device, s.access, "vic", acl.RoleUser)
	const each = 8
	var mu sync.Mutex
	added := make(map[latchkey.Fingerprint]bool)
	conflicts := 0
	var work sync.WaitGroup
	for _, conn := range conns {
		work.Go(func() {
			for range each {
				key := newIdentity(t).Fingerprint()
				for {
					vic, err := conn.User(deadline(t), "vic")
					if err != nil {
						t.Error(err)
						return
					}
					_, err = conn.AddKey(deadline(t), "vic", key, client.NewKey{}, client.Terms{Version: vic.Version})
					var conflict *client.ConflictError
					mu.Lock()
					if errors.As(err, &conflict) {
						conflicts++
						mu.Unlock()
						continue
					}
					added[key] = err == nil
					mu.Unlock()
					if err != nil {
						t.Error(err)
					}
					break
				}
			}
		})
	}
	work.Wait()
	t.Logf("%d changes, %d conflicts", len(added), conflicts)
	list := accounts(t, s.access)
	var found int
	for _, a := range list {
		if a.Name != "vic" {
			continue
		}
		for _, k := range a.Keys {
			if added[k.Fingerprint] {
				found++
			}
		}
	}
	if found != each*len(conns) {
		t.Errorf("%d of %d keys are there", found, each*len(conns))
	}
	// Two remove each other; one of them is left, whoever was first.
	var removed [2]error
	for i, name := range []string{"bea", "ada"} {
		work.Go(func() { removed[i] = conns[1+i].RemoveUser(deadline(t), name, client.Terms{}) })
	}
	work.Wait()
	admins := 0
	for _, role := range users(t, s.access) {
		if role == acl.RoleAdmin {
			admins++
		}
	}
	if admins == 0 || removed[0] != nil && removed[1] != nil {
		t.Errorf("%d administrators are left; %v", admins, removed)
	}
}
