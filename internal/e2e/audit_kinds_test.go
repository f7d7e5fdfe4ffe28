package e2e

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/audit"
	"github.com/latchkey-dev/latchkey/pairing"
)

// A written is what the audit log has to say of one kind of event.
type written struct {
	kind    acl.EventKind
	outcome acl.Outcome
}

// TestEverythingIsWrittenDown provokes what a device has to tell, once as it
// should be and once as it should not, and reads its log. Backups, resets and new
// keys are told by the program that makes them.
func TestEverythingIsWrittenDown(t *testing.T) {
	n := newNotary(t)
	store, info, _ := stationWith(t, n.guards)
	dir := filepath.Join(t.TempDir(), "device")
	access := newAccess(t)
	key := newIdentity(t)
	d := &device.Device{
		Dir: dir, Identity: key, Access: access, ID: gw1, Pairing: pairing.LocalInitial | pairing.Invite,
		Basestations: []string{info.Addrs[0].String()}, BasestationKey: info.Fingerprint,
		Services: []device.Service{{ID: "echo", Target: "tcp://" + echo(t, "tcp", "127.0.0.1:0").Addr().String()}},
		Limits:   device.Limits{Refusals: 1000},
	}
	n.takenBy(d)
	td := serve(t, d)
	s := &site{t: t, store: store, info: info, access: access, device: td}
	// The basestation does not know the device at first.
	await(t, "not attached", func() bool { return wrote(t, dir, acl.EventAttach, acl.OutcomeRefused) })
	s.register(gw1, key)
	if err := td.SetBasestation(nil, latchkey.Fingerprint{}); err != nil {
		t.Fatal(err)
	}
	if err := td.SetBasestation(d.Basestations, d.BasestationKey); err != nil {
		t.Fatal(err)
	}
	s.version(1)

	closing := func(c *client.Client) *client.Client {
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	owner := closing(newClient(t))
	pair(t, owner, td)
	conn := dial(t, owner)
	ctx, none := deadline(t), client.Terms{}
	stale := client.Terms{Version: "0000000000000000"}
	does := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: allowed", what)
		}
	}
	does("a tunnel", func() error {
		tun, err := conn.Tunnel(ctx, "echo")
		if err == nil {
			_ = tun.Close()
		}
		return err
	}())
	spare := newIdentity(t).Fingerprint()
	does("a user", second(conn.AddUser(ctx, "vic", client.NewUser{Role: acl.RoleUser})))
	refused("the user again", second(conn.AddUser(ctx, "vic", client.NewUser{})))
	does("a key", second(conn.AddKey(ctx, "vic", spare, client.NewKey{}, none)))
	refused("a key on an old version", conn.RemoveKey(ctx, "vic", spare, stale))
	does("a role", second(conn.PutRole(ctx, acl.Role{Name: "staff"}, none)))
	refused("a role of policies that are not there", second(conn.PutRole(ctx, acl.Role{Name: "staff", Policies: []string{"nothing"}}, none)))
	does("a policy", second(conn.PutPolicy(ctx, allows(t, "lights", "coap:*"), none)))
	refused("a policy on an old version", conn.RemovePolicy(ctx, "lights", stale))
	invitation, err := conn.Invite(ctx, "ida", acl.RoleUser, time.Hour)
	does("an invitation", err)
	refused("an invitation for a user", second(conn.Invite(ctx, "vic", acl.RoleUser, time.Hour)))
	does("a name", conn.SetName(ctx, "Kitchen"))
	_, err = conn.Do(ctx, &client.Request{Method: client.PUT, Path: "/device/name", Format: client.FormatJSON, Accept: client.NoFormat, Body: []byte(`{"name":"a\nb"}`)})
	refused("no name", err) // as another make of client may ask for
	does("a mode", conn.SetPairing(ctx, pairing.LocalOpen, true, time.Hour))
	refused("a mode without a password", conn.SetPairing(ctx, pairing.PasswordOpen, true, time.Hour))

	guesser := closing(newClient(t)) // it stops when it sees that the password is another
	_, err = guesser.Pair(ctx, invitation.URL, client.PairOptions{Password: latchkey.NewSecret("nonsense nonsense")})
	if !errors.Is(err, latchkey.ErrWrongPassword) {
		t.Errorf("a wrong password: %v", err)
	}
	does("the right one", second(closing(newClient(t)).Pair(ctx, invitation.URL, client.PairOptions{Alias: "home"})))

	bearer := closing(stranger(t, td))
	me := identityOf(t, bearer)
	visitor := dial(t, bearer)
	show := func(token string) error {
		return second(visitor.Do(ctx, &client.Request{Method: client.POST, Path: "/token", Body: []byte(token)}))
	}
	refused("a token for the gate", show(n.token(t, me, gateAudience, time.Hour, nil)))
	does("a token", show(n.token(t, me, gw1.String(), time.Hour, map[string]any{"role": "visitor"})))
	refused("what a visitor may not", second(visitor.Get(ctx, "/secret")))

	// Somebody loses everything while it goes on.
	lost := closing(admit(t, td, access, "lost", acl.RoleUser))
	last := dial(t, lost)
	tun, err := last.Tunnel(ctx, "echo")
	does("a tunnel", err)
	defer tun.Close()
	does("the end of somebody", conn.RemoveUser(ctx, "lost", none))
	<-last.Context().Done()
	// Nothing is open to strangers any more, not even by a token.
	does("no issuers", td.SetTokens(nil))
	does("no modes", td.ClosePairing(everyMode))
	if _, err := lost.Dial(ctx, "home"); !errors.Is(err, latchkey.ErrHandshakeRefused) {
		t.Errorf("after removal: %v", err)
	}
	does("the end", td.stop())

	both := []acl.Outcome{acl.OutcomeOK, acl.OutcomeRefused}
	ok := both[:1]
	want := map[acl.EventKind][]acl.Outcome{
		acl.EventStart: ok, acl.EventStop: ok, acl.EventAttach: both, acl.EventSession: both, acl.EventAccess: both, acl.EventRevoke: ok,
		acl.EventPair: both, acl.EventMode: both, acl.EventInvite: both, acl.EventUser: both, acl.EventKey: both, acl.EventRole: both,
		acl.EventPolicy: both, acl.EventToken: both, acl.EventSettings: both,
	}
	found := make(map[written]int)
	wrong := uint64(0)
	for r, err := range audit.Read(dir, audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		found[written{r.Kind, r.Outcome}]++
		if r.Kind == acl.EventPair && r.Code == latchkey.CodeWrongPassword {
			wrong += max(1, r.Repeats)
		}
	}
	for kind, outcomes := range want {
		for _, o := range outcomes {
			if found[written{kind, o}] == 0 {
				t.Errorf("no record of %s, %s", kind, o)
			}
		}
	}
	for w := range found {
		if want[w.kind] == nil && w.kind != audit.KindCheckpoint {
			t.Errorf("a record of %s, %s", w.kind, w.outcome)
		}
	}
	if wrong != 1 {
		t.Errorf("%d records of one wrong password", wrong)
	}
	report, err := audit.Verify(dir, key.Public(), access.Anchor())
	t.Logf("%+v", report)
	if err != nil {
		t.Errorf("the log does not verify: %v", err)
	}
}

// wrote reports whether a log has such a record.
func wrote(t *testing.T, dir string, kind acl.EventKind, outcome acl.Outcome) bool {
	t.Helper()
	for r, err := range audit.Read(dir, audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind == kind && r.Outcome == outcome {
			return true
		}
	}
	return false
}
