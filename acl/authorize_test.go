package acl

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
)

func TestDefaultRoles(t *testing.T) {
	s := newStore(t)
	peers := map[string]latchkey.Fingerprint{
		RoleUnpaired: fingerprint(9),
		RoleGuest:    pair(t, s, "greta", RoleGuest, 1),
		RoleUser:     pair(t, s, "ulf", RoleUser, 2),
		RoleAdmin:    pair(t, s, "anna", RoleAdmin, 3),
	}
	paths := []string{"/.well-known/core", "/device/info", "/services", "/me"}
	may := func(role string, a Action, resource string) bool {
		kind, how, _ := strings.Cut(string(a), ":")
		switch role {
		case RoleUnpaired:
			return kind == "pair" || a == TokenLogin
		case RoleAdmin:
			return true
		}
		guest := kind == "self" || kind == "pair" || a == ServiceList
		for _, p := range paths {
			guest = guest || a == CoAPGet && resource == p
		}
		return guest || role == RoleUser && (kind == "coap" || kind == "route" || kind == "tunnel" && how == "open")
	}
	for role, fp := range peers {
		for _, a := range append([]Action{"user:list", "firmware:update"}, known...) {
			for _, resource := range append([]string{"/", "/light/1", "/me/x", "ssh", "http://127.0.0.1/x", ""}, paths...) {
				err := s.Authorize(t.Context(), &Request{Peer: fp, Action: a, Resource: resource})
				if got, want := err == nil, may(role, a, resource); got != want {
					t.Errorf("%s, %s %q: %v", role, a, resource, err)
				}
				want := latchkey.ErrForbidden
				if role == RoleUnpaired {
					want = latchkey.ErrUnpaired
				}
				if err != nil && (!errors.Is(err, want) || latchkey.CodeOf(err) != latchkey.CodeOf(want)) {
					t.Errorf("%s, %s %q: %v", role, a, resource, err)
				}
			}
		}
	}
}

// Who a peer is comes from its key and the present state, not from the request.
func TestAuthorizeTrustsTheKey(t *testing.T) {
	s := newStore(t)
	pair(t, s, "anna", RoleAdmin, 1)
	guest := pair(t, s, "greta", RoleGuest, 2)
	for name, r := range map[string]*Request{
		"a stranger who says admin":       {Peer: fingerprint(9), User: "anna", Role: RoleAdmin},
		"nobody who says admin":           {User: "anna", Role: RoleAdmin},
		"nobody":                          {},
		"a guest who says admin":          {Peer: guest, Role: RoleAdmin},
		"a guest who says anna":           {Peer: guest, User: "anna"},
		"a guest with a claim":            {Peer: guest, Claims: map[string]any{"role": "admin"}},
		"a stranger who brings a claim":   {Peer: fingerprint(9), Claims: map[string]any{"role": "admin"}, Role: RoleAdmin},
		"a guest who is only being shown": {Peer: guest, Listing: true},
	} {
		r.Action, r.Resource = CoAPPut, "/light/1"
		before := text(t, r)
		if err := s.Authorize(t.Context(), r); err == nil {
			t.Errorf("%s: allowed", name)
		}
		if text(t, r) != before {
			t.Errorf("%s: the request was changed", name)
		}
	}
	if err := s.Authorize(t.Context(), nil); err == nil {
		t.Error("no request: allowed")
	}
	// Out of date facts refuse even what the peer may do.
	info := Request{Peer: guest, Action: CoAPGet, Resource: "/device/info"}
	for _, r := range []Request{info, {User: "greta", Role: RoleGuest}, {User: "anna"}, {Role: RoleUser}} {
		r.Peer, r.Action, r.Resource = info.Peer, info.Action, info.Resource
		err := s.Authorize(t.Context(), &r)
		if fresh := r.User != "anna" && r.Role != RoleUser; fresh != (err == nil) {
			t.Errorf("user %q, role %q: %v", r.User, r.Role, err)
		}
	}
}

// Policies of the role, of the user and of the key hold together.
func TestAuthorizeAttached(t *testing.T) {
	s := newStore(t)
	put := func(name string, effect Effect, resource string) func(*Tx) error {
		return func(tx *Tx) error {
			p, err := NewPolicy(name, Statement{Effect: effect, Actions: []string{"coap:*"}, Resources: []string{resource}})
			return errors.Join(err, tx.PutPolicy(p))
		}
	}
	update(t, s, func(tx *Tx) error {
		return errors.Join(
			put("light", Allow, "/light/**")(tx), put("no-lock", Deny, "/home/lock")(tx), put("own", Allow, "/home/${connection.user}/**")(tx),
			tx.PutRole(Role{Name: "lamp", Policies: []string{"light"}}),
			tx.AddUser(User{Name: "bob", Role: "lamp", Policies: []string{"own"}}),
			tx.AddUser(User{Name: "lock", Role: "lamp", Policies: []string{"own"}}),
			tx.AddKey(Key{Fingerprint: fingerprint(1), User: "bob"}),
			tx.AddKey(Key{Fingerprint: fingerprint(2), User: "lock", Policies: []string{"no-lock"}}),
			tx.AddKey(Key{Fingerprint: fingerprint(3), User: "lock"}),
		)
	})
	for _, c := range []struct {
		key      int
		resource string
		by       string // the policy that allows
	}{
		{1, "/light/1", "light"},
		{1, "/home/bob/x", "own"},
		{1, "/home/lock", ""},
		{1, "/other", ""},
		{2, "/light/1", "light"},
		{2, "/home/lock", ""},
		{3, "/home/lock", "own"},
		{3, "/home/bob", ""},
	} {
		r := &Request{Peer: fingerprint(c.key), Action: CoAPGet, Resource: c.resource}
		err := s.Authorize(t.Context(), r)
		d := s.Explain(r)
		if (err == nil) != (c.by != "") || (d.Effect == Allow) != (err == nil) || err == nil && d.Policy != c.by {
			t.Errorf("key %d, %s: %v, %+v", c.key, c.resource, err, d)
		}
	}
	// A change of a policy is in force at once.
	r := &Request{Peer: fingerprint(1), Action: CoAPGet, Resource: "/light/1"}
	update(t, s, put("light", Deny, "/light/**"))
	if err := s.Authorize(t.Context(), r); !errors.Is(err, latchkey.ErrForbidden) || !strings.Contains(err.Error(), `denied by policy "light", statement 1`) {
		t.Errorf("%v", err)
	}
}

func TestAuthorizeExpiry(t *testing.T) {
	end := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s := newStore(t)
	update(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.AddUser(User{Name: "bob", Role: RoleUser, Expires: end}),
			tx.AddKey(Key{Fingerprint: fingerprint(1), User: "bob"}),
			tx.AddKey(Key{Fingerprint: fingerprint(2), User: "bob", Expires: end.Add(-time.Hour)}),
			tx.AddKey(Key{Fingerprint: fingerprint(3), User: "bob", Expires: end.Add(time.Hour)}),
			tx.AddUser(User{Name: "eve", Role: RoleUser}),
			tx.AddKey(Key{Fingerprint: fingerprint(4), User: "eve"}),
		)
	})
	for _, c := range []struct {
		key  int
		time time.Time
		want bool
	}{
		{1, end.Add(-1), true},
		{1, end, false},
		{1, end.Add(time.Hour), false},
		{1, time.Time{}, false},
		{2, end.Add(-time.Hour - 1), true},
		{2, end.Add(-time.Hour), false},
		{3, end.Add(-1), true},
		{3, end, false},
		{4, time.Time{}, true},
		{4, end.AddDate(100, 0, 0), true},
	} {
		r := &Request{Peer: fingerprint(c.key), Action: CoAPGet, Resource: "/x", Time: c.time}
		err := s.Authorize(t.Context(), r)
		if (err == nil) != c.want || err != nil && !errors.Is(err, latchkey.ErrForbidden) {
			t.Errorf("key %d at %s: %v", c.key, c.time, err)
		}
	}
	if _, ok := s.Lookup(fingerprint(2)); !ok {
		t.Error("an expired key is still somebody's")
	}
}

func TestExplain(t *testing.T) {
	s := newStore(t)
	fp := pair(t, s, "bob", RoleUser, 1)
	for _, c := range []struct {
		name   string
		r      Request
		effect Effect
		reason string
		steps  int
	}{
		{"by key", Request{Peer: fp, Action: TunnelOpen, Resource: "ssh"}, Allow, `allowed by policy "user", statement 1`, 3},
		{"by user", Request{User: "bob", Action: TunnelOpen, Resource: "ssh"}, Allow, `allowed by policy "user", statement 1`, 3},
		{"by role", Request{Role: RoleGuest, Action: TunnelOpen, Resource: "ssh"}, NoMatch, "no statement allows it", 2},
		{"a stranger", Request{Peer: fingerprint(9), Action: PairInvite, Resource: "invite"}, Allow, `allowed by policy "unpaired", statement 1`, 1},
		{"nobody", Request{Action: CoAPGet, Resource: "/"}, NoMatch, "no statement allows it", 1},
		{"a stranger as user", Request{Peer: fingerprint(9), User: "bob", Action: TunnelOpen, Resource: "ssh"}, NoMatch, "no statement allows it", 1},
		{"unknown user", Request{User: "carol", Action: TunnelOpen, Resource: "ssh"}, NoMatch, `there is no user "carol"`, 0},
		{"unknown role", Request{Role: "king", Action: TunnelOpen, Resource: "ssh"}, NoMatch, `there is no role "king"`, 0},
		{"another role", Request{Peer: fp, Role: RoleAdmin, Action: TunnelOpen, Resource: "ssh"}, NoMatch, "the request names another user or role than the key has now", 0},
		{"unclean", Request{User: "bob", Action: CoAPGet, Resource: "/../x"}, NoMatch, "the request has no action, or a resource that is too long or not clean", 0},
	} {
		d := s.Explain(&c.r)
		if d.Effect != c.effect || d.Reason != c.reason || len(d.Trace) != c.steps {
			t.Errorf("%s: %+v", c.name, d)
		}
		if c.r.Peer.IsZero() {
			continue
		}
		if err := s.Authorize(t.Context(), &c.r); (err == nil) != (d.Effect == Allow) {
			t.Errorf("%s: Authorize says %v", c.name, err)
		}
	}
	d := s.Explain(&Request{Peer: fp, Action: TunnelOpen, Resource: "ssh"})
	want := `{"effect":"allow","policy":"user","statement":1,"reason":"allowed by policy \"user\", statement 1",` +
		`"subject":{"user":"bob","role":"user","key_name":"laptop","origin":"manual"},"trace":[` +
		`{"policy":"guest","statement":1,"effect":"allow","matched":false,"reason":"is about other actions"},` +
		`{"policy":"guest","statement":2,"effect":"allow","matched":false,"reason":"is about other actions"},` +
		`{"policy":"user","statement":1,"effect":"allow","matched":true,"reason":"matches"}]}`
	if got := text(t, d); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func BenchmarkAuthorize(b *testing.B) {
	s := newStore(b)
	fp := pair(b, s, "bob", RoleUser, 1)
	r := &Request{Peer: fp, User: "bob", Role: RoleUser, Action: TunnelOpen, Resource: "ssh"}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Authorize(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	s := newStore(b)
	for i := 0; b.Loop(); i++ {
		update(b, s, func(tx *Tx) error { return tx.SetSetting("a", time.Unix(int64(i), 0).String()) })
	}
}

// Who has expired cannot pair, and whoever reads why learns what to do.
func TestExpiredCannotPair(t *testing.T) {
	s := newStore(t)
	now := time.Now()
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.AddUser(User{Name: "bob", Role: RoleGuest, Expires: now}), tx.AddKey(Key{Fingerprint: fingerprint(1), User: "bob"}))
	})
	err := s.Authorize(t.Context(), &Request{Peer: fingerprint(1), Action: PairInvite, Resource: "invite", Time: now})
	if !errors.Is(err, latchkey.ErrForbidden) || !strings.Contains(err.Error(), "give it more time, or remove the key") {
		t.Error(err)
	}
}

// Strangers pair and show tokens, even where their role allows everything. What it
// denies it denies in its own way.
func TestStrangersAreBounded(t *testing.T) {
	s := newStore(t)
	update(t, s, func(tx *Tx) error {
		lock, err := NewPolicy("lock", Statement{Effect: Deny, Actions: []string{"coap:put"}, Resources: []string{"/lock"}, Mode: Disconnect})
		return errors.Join(err, tx.PutPolicy(lock), tx.PutRole(Role{Name: RoleUnpaired, Policies: []string{RoleAdmin, "lock"}}))
	})
	rules, err := s.Rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range append([]Action{"user:list", "firmware:update", "pairs:read", "token:logout"}, known...) {
		r := Request{Peer: fingerprint(9), Action: a, Resource: "/x"}
		want := strings.HasPrefix(string(a), "pair:") || a == TokenLogin
		if err := s.Authorize(t.Context(), &r); (err == nil) != want || err != nil && !errors.Is(err, latchkey.ErrUnpaired) {
			t.Errorf("%s: %v", a, err)
		}
		for _, peer := range []Request{{Peer: r.Peer}, {Role: RoleUnpaired}} {
			peer.Action, peer.Resource = r.Action, r.Resource
			d := s.Explain(&peer)
			if (d.Effect == Allow) != want || !want && (d.Effect != NoMatch || d.Reason != strangersOnly || len(d.Trace) == 0) {
				t.Errorf("%s: explained %+v", a, d)
			}
		}
		expect := ExpectRefuse
		if want {
			expect = ExpectAllow
		}
		d := &Document{Cases: []Case{{Expect: expect, Role: RoleUnpaired, Request: r}}}
		if failed := d.Check(rules); failed != nil {
			t.Errorf("%s: as a test: %v", a, failed)
		}
	}
	if d := s.Explain(&Request{Peer: fingerprint(9), Action: CoAPPut, Resource: "/lock"}); d.Effect != Deny || d.Mode != Disconnect {
		t.Errorf("what is denied: %+v", d)
	}
}
