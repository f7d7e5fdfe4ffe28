package device

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/audit"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/roster"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// TestNameIsAnnouncedAtOnce: the name that was given from afar wins over the
// configured one, and the network hears of every change.
func TestNameIsAnnouncedAtOnce(t *testing.T) {
	o := newOffice(t, nil)
	s, err := o.serving()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var told []string
	s.announce.mu.Lock()
	s.announce.tell = func(name string) error {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, name)
		return nil
	}
	s.announce.mu.Unlock()
	olga := o.as("olga")
	o.must(olga, PUT, "/device/name", `{"name":"kitchen"}`)
	if err := o.SetName("reconfigured"); err != nil {
		t.Fatal(err)
	}
	o.must(olga, PUT, "/device/name", `{"name":""}`)
	if err := o.SetName(""); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if want := []string{"kitchen", "kitchen", "reconfigured", o.info.ID.String()}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	mu.Unlock()
	o.must(olga, PUT, "/device/name", `{"name":"cellar"}`)
	again := &Device{Access: o.store, Identity: o.Identity, Name: "configured", Addr: "127.0.0.1:0"}
	restarted, err := again.newServer()
	if err != nil {
		t.Fatal(err)
	}
	defer restarted.close()
	if name := restarted.name(); name != "cellar" {
		t.Errorf("after a restart the name is %q", name)
	}
}

// TestAuditFromAfar shows the newest records, or those behind a number.
func TestAuditFromAfar(t *testing.T) {
	o := newOffice(t, func(d *Device, _ *acl.Store) { d.Audit = nil })
	olga := o.as("olga")
	for i := range 3 * maxRecords / 2 {
		o.must(olga, PUT, "/device/name", `{"name":"`+string(rune('a'+i%26))+`"}`)
	}
	read := func(path string) (list []audit.Record) {
		t.Helper()
		answer, err := olga.Do(o.ctx, request(GET, path, ""))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(answer.Body, &list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	newest := read("/audit")
	if len(newest) != maxRecords || newest[0].N <= 1 {
		t.Fatalf("%d records, from %d on", len(newest), newest[0].N)
	}
	first := read("/audit?after=3")
	if len(first) != maxRecords || first[0].N != 4 {
		t.Errorf("%d records, from %d on", len(first), first[0].N)
	}
	renamed := slices.ContainsFunc(newest, func(r audit.Record) bool {
		return r.Kind == acl.EventSettings && r.Action == acl.DeviceRename && r.User == "olga" && r.Outcome == acl.OutcomeOK
	})
	if !renamed {
		t.Errorf("no record of what was done: %+v", newest[len(newest)-1])
	}
	if list := read("/audit?after=999999999"); len(list) != 0 {
		t.Errorf("%d records of the future", len(list))
	}
	if _, err := o.do(olga, GET, "/audit?after=x", ""); !errors.Is(err, latchkey.ErrProtocol) {
		t.Errorf("a number that is none: %v", err)
	}
}

// TestInvitationsHaveConnectTokens that hold as long as they do.
func TestInvitationsHaveConnectTokens(t *testing.T) {
	o := newOffice(t, func(d *Device, _ *acl.Store) {
		d.Basestations, d.BasestationKey = []string{"127.0.0.1:1"}, d.Identity.Fingerprint()
	})
	s, err := o.serving()
	if err != nil {
		t.Fatal(err)
	}
	olga := o.as("olga")
	made, err := olga.Invite(o.ctx, "ida", "", time.Hour)
	u := made.URL
	if err != nil || u.Token.IsZero() {
		t.Fatalf("%+v, %v", made, err)
	}
	sum := signal.Sum(sha256.Sum256([]byte(u.Token.Reveal())))
	held := func(now time.Time) *signal.Token {
		t.Helper()
		list, err := s.connectTokens(now)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(token signal.Token) bool { return token.Hash == sum })
		if i < 0 {
			return nil
		}
		return &list[i]
	}
	token := held(time.Now())
	if token == nil || token.Uses != inviteUses || !token.Key.IsZero() || time.Until(token.Expires) > time.Hour {
		t.Errorf("token %+v", token)
	}
	if held(time.Now().Add(2*time.Hour)) != nil {
		t.Error("the token outlives the invitation")
	}
	for _, key := range []string{"olga", "gus"} { // others pair meanwhile
		o.update(func(tx *acl.Tx) error {
			return tx.AddKey(acl.Key{Fingerprint: o.identity("more").Fingerprint(), User: key, Origin: "invite", Added: time.Now()})
		})
	}
	if held(time.Now()) == nil {
		t.Error("the token is void although the invitation holds")
	}
	if err := olga.RemoveInvite(o.ctx, made.ID); err != nil {
		t.Fatal(err)
	}
	if held(time.Now()) != nil {
		t.Error("the token is left of an invitation that was withdrawn")
	}
}

// TestSomebodyElsesName: who was renamed between the choice of the action and the
// door does not do to the next user of the old name what it may do to itself.
func TestSomebodyElsesName(t *testing.T) {
	o := newOffice(t, nil)
	conn := o.as("gus")
	if _, err := conn.Me(o.ctx); err != nil {
		t.Fatal(err)
	}
	s, err := o.serving()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range s.all() {
		op, own := p.builtin("/users/gus", DELETE)
		if !own || op.action != acl.SelfRemove {
			t.Fatalf("judged as %q", op.action)
		}
		o.update(func(tx *acl.Tx) error {
			return errors.Join(tx.RenameUser("gus", "gustav"), tx.AddUser(acl.User{Name: "gus", Role: acl.RoleGuest}))
		})
		pass, err := s.door.admit(o.ctx, p.question(op.action, op.resource))
		if err != nil {
			t.Fatal(err)
		}
		if m := op.run(o.ctx, pass, coap.NewRequest(DELETE, "/users/gus")); m.Code != coap.Forbidden {
			t.Errorf("answered %v", m.Code)
		}
	}
	if _, err := o.as("olga").User(o.ctx, "gus"); err != nil {
		t.Errorf("the other gus: %v", err)
	}
}

// TestNoStore: a device whose hook decides alone has nothing to administrate.
func TestNoStore(t *testing.T) {
	p := &peer{srv: &server{}}
	run := managed(func(*peer, *roster.Roster, *call) (*coap.Response, error) { panic("reached") })
	if m := run(p, t.Context(), &call{}); m.Code != NotFound {
		t.Errorf("answered %v", m.Code)
	}
}
