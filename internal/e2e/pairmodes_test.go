package e2e

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/pairing"
)

const devicePassword = "correct horse"

// withPassword is a device whose password is set, on which modes are open, and
// the URL of which names no key.
func withPassword(t *testing.T, modes pairing.Modes) (*testDevice, *latchkey.PairingURL) {
	t.Helper()
	store, identity := newStore(t), newIdentity(t)
	id := latchkey.DefaultDeviceID(identity.Fingerprint())
	host := pairing.NewHost(pairing.HostConfig{Store: store, Device: id, Key: identity.Fingerprint()})
	if err := host.SetPassword(latchkey.NewSecret(devicePassword)); err != nil {
		t.Fatal(err)
	}
	// A device without an owner invites nobody else by these modes.
	if err := store.Update(func(tx *acl.Tx) error {
		return errors.Join(
			tx.AddUser(acl.User{Name: "owner", Role: acl.RoleAdmin, Added: time.Now()}),
			tx.AddKey(acl.Key{Fingerprint: newIdentity(t).Fingerprint(), User: "owner", Added: time.Now(), Origin: "manual"}),
		)
	}); err != nil {
		t.Fatal(err)
	}
	td := serve(t, &device.Device{Identity: identity, Access: store, Pairing: modes})
	return td, &latchkey.PairingURL{Addrs: td.info.PairingURL.Addrs}
}

// TestPairByPassword: the password is asked for only if nothing else would do,
// again after a wrong one, and vouches for the device's key.
func TestPairByPassword(t *testing.T) {
	_, url := withPassword(t, pairing.PasswordOpen)
	refuse := client.PairOptions{Alias: "home", User: "gus"}
	if _, err := newClient(t).Pair(deadline(t), url, refuse); !isMissing(err, true) {
		t.Errorf("without a password: %v", err)
	}
	wrong := refuse
	wrong.Password = latchkey.NewSecret("wrong")
	if _, err := newClient(t).Pair(deadline(t), url, wrong); !errors.Is(err, latchkey.ErrWrongPassword) {
		t.Errorf("with a wrong password: %v", err)
	}

	var asked []client.PasswordQuestion
	o := client.PairOptions{Alias: "home", User: "gus", AskPassword: func(_ context.Context, q client.PasswordQuestion) (latchkey.Secret, error) {
		asked = append(asked, q)
		return latchkey.NewSecret([]string{"hunter2", devicePassword}[q.Wrong]), nil
	}}
	c := newClient(t)
	paired, err := c.Pair(deadline(t), url, o)
	if err != nil {
		t.Fatal(err)
	}
	if paired.User != "gus" || paired.Role != acl.RoleGuest || paired.Already {
		t.Errorf("paired as %+v", paired)
	}
	if len(asked) != 2 || asked[0].Mode != pairing.PasswordOpen || asked[1].Wrong != 1 {
		t.Errorf("asked %+v", asked)
	}
	if _, err := dial(t, c).Get(deadline(t), "/me"); err != nil {
		t.Error(err)
	}

	// Again, and nobody has vouched for the key.
	if _, err := c.Pair(deadline(t), url, o); !errors.Is(err, latchkey.ErrUnknownDevice) {
		t.Errorf("again without a key in the URL: %v", err)
	}
	o.AcceptKey = func(latchkey.Fingerprint) error { return nil }
	if again, err := c.Pair(deadline(t), url, o); err != nil || !again.Already || len(asked) != 2 {
		t.Errorf("again: %+v, %v, asked %d times", again, err, len(asked))
	}
}

func isMissing(err error, password bool) bool {
	var missing *pairing.MissingError
	return errors.As(err, &missing) && missing.Password == password
}

// TestPairOpen: who needs no password is not asked for one.
func TestPairOpen(t *testing.T) {
	td, _ := withPassword(t, pairing.LocalOpen|pairing.PasswordOpen)
	paired, err := newClient(t).Pair(deadline(t), td.info.PairingURL, client.PairOptions{
		Alias: "home", User: "gus",
		AskPassword: func(context.Context, client.PasswordQuestion) (latchkey.Secret, error) {
			t.Error("a password was asked for")
			return latchkey.Secret{}, errors.New("none")
		},
	})
	if err != nil || paired.Role != acl.RoleGuest {
		t.Errorf("paired %+v, %v", paired, err)
	}
}

// TestAdministration: what an owner decides from afar holds on the device, on the
// version that was read.
func TestAdministration(t *testing.T) {
	_, _, conn := owned(t, &device.Device{})
	ctx := deadline(t)
	key := newIdentity(t).Fingerprint()
	bob, err := conn.AddUser(ctx, "bob", client.NewUser{Role: acl.RoleUser, Key: key, KeyName: "laptop"})
	if err != nil || len(bob.Keys) != 1 || bob.Keys[0].Fingerprint != key {
		t.Fatalf("added %+v, %v", bob, err)
	}
	seen := client.Terms{Version: bob.Version}
	if bob, err = conn.SetRole(ctx, "bob", acl.RoleGuest, seen); err != nil || bob.Role != acl.RoleGuest {
		t.Fatalf("role: %+v, %v", bob, err)
	}
	var conflict *client.ConflictError
	if _, err := conn.SetExpiry(ctx, "bob", time.Now().Add(time.Hour), seen); !errors.As(err, &conflict) || conflict.Version != bob.Version {
		t.Errorf("on a version that has passed: %v", err)
	}
	if err := conn.RemoveUser(ctx, "owner", client.Terms{}); !errors.Is(err, latchkey.ErrConflict) || errors.As(err, &conflict) {
		t.Errorf("the last administrator: %v", err)
	}
	role, err := conn.PutRole(ctx, acl.Role{Name: "kid", Includes: []string{acl.RoleGuest}}, client.Terms{Version: client.Absent})
	if err != nil || role.Version == "" {
		t.Fatalf("role: %+v, %v", role, err)
	}
	if _, err := conn.PutRole(ctx, acl.Role{Name: "kid"}, client.Terms{Version: client.Absent}); !errors.As(err, &conflict) || conflict.Version != role.Version {
		t.Errorf("a role that is there already: %v", err)
	}
	policy, err := acl.NewPolicy("lights", acl.Statement{Effect: acl.Allow, Actions: []string{"coap:*"}, Resources: []string{"/light/**"}})
	if err != nil {
		t.Fatal(err)
	}
	put, err := conn.PutPolicy(ctx, policy, client.Terms{})
	if err != nil {
		t.Fatal(err)
	}
	if info, text, err := conn.Policy(ctx, "lights"); err != nil || info.Version != put.Version || len(text) == 0 {
		t.Errorf("policy: %+v %s, %v", info, text, err)
	}
	if _, err := conn.SetPolicies(ctx, "bob", []string{"lights"}, client.Terms{}); err != nil {
		t.Error(err)
	}
	if err := conn.RemovePolicy(ctx, "lights", client.Terms{}); !errors.Is(err, latchkey.ErrConflict) {
		t.Errorf("a policy that bob has: %v", err)
	}
	if err := conn.RemoveRole(ctx, "kid", client.Terms{Version: role.Version}); err != nil {
		t.Error(err)
	}
	if users, err := conn.Users(ctx); err != nil || len(users) != 2 || users[0].Name != "bob" {
		t.Errorf("users: %+v, %v", users, err)
	}
	if err := conn.SetPairing(ctx, pairing.Invite, true, time.Hour); err != nil {
		t.Error(err)
	}
	invitation, err := conn.Invite(ctx, "carol", acl.RoleUser, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := conn.Settings(ctx); err != nil || !slices.Contains(s.Pairing, "invite") {
		t.Errorf("settings: %+v, %v", s, err)
	}
	if list, err := conn.Invites(ctx); err != nil || len(list) != 1 || list[0].ID != invitation.ID || list[0].By != "owner" {
		t.Errorf("invitations: %+v, %v", list, err)
	}
	if paired, err := newClient(t).Pair(ctx, invitation.URL, client.PairOptions{Alias: "home"}); err != nil || paired.User != "carol" || paired.Role != acl.RoleUser {
		t.Errorf("the invited: %+v, %v", paired, err)
	}
	if err := conn.SetName(ctx, "Kitchen light"); err != nil {
		t.Error(err)
	}
	if records, err := conn.Audit(ctx, 0); err != nil || len(records) == 0 {
		t.Errorf("audit: %d records, %v", len(records), err)
	}
}
