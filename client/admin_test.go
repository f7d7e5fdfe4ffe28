package client

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

// TestConflicts: a change on a version that has passed is told from one that the
// device refuses for other reasons.
func TestConflicts(t *testing.T) {
	const seen, later = "0011223344556677", "8899aabbccddeeff"
	for _, test := range []struct {
		name  string
		terms Terms
		now   *coap.Response // of the user
		stale string         // the version in the ConflictError; "": there is none
	}{
		{"changed since", Terms{Version: seen}, answered(coap.Content, `{"version":"`+later+`"}`), later},
		{"removed since", Terms{Version: seen}, refused(latchkey.ErrNotFound), Absent},
		{"as it was", Terms{Version: seen}, answered(coap.Content, `{"version":"`+seen+`"}`), ""},
		{"not to be seen", Terms{Version: seen}, refused(latchkey.ErrForbidden), ""},
		{"whatever is there", Terms{}, answered(coap.Content, `{"version":"`+later+`"}`), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t, &fake{handler: func(_ context.Context, r *coap.Request) *coap.Response {
				if r.Code == coap.GET {
					return test.now
				}
				if tag, _ := r.Option(coap.IfMatch); hex.EncodeToString(tag) != test.terms.Version {
					t.Errorf("If-Match %x", tag)
				}
				return refused(latchkey.ErrConflict)
			}})
			conn, _ := f.dial(t, DialOptions{})
			_, err := conn.SetRole(within(t), "alice", "guest", test.terms)
			if !errors.Is(err, latchkey.ErrConflict) {
				t.Fatalf("SetRole = %v", err)
			}
			var conflict *ConflictError
			if errors.As(err, &conflict) != (test.stale != "") || conflict != nil && conflict.Version != test.stale {
				t.Errorf("SetRole = %v (%+v), want a version %q", err, conflict, test.stale)
			}
			if conflict != nil && !strings.HasPrefix(err.Error(), "PUT /users/alice/role: somebody else has ") {
				t.Errorf("text %q", err)
			}
		})
	}
}

// TestForms: what is asked is spelled as docs/protocol.md section 4 says.
func TestForms(t *testing.T) {
	const version = "0011223344556677"
	var key latchkey.Fingerprint
	asked := make(chan string, 1)
	f := newFake(t, &fake{handler: func(_ context.Context, r *coap.Request) *coap.Response {
		line := methodNames[r.Code] + " /" + strings.Join(r.Path, "/")
		if len(r.Query) > 0 {
			line += "?" + strings.Join(r.Query, "&")
		}
		if tag, ok := r.Option(coap.IfMatch); ok {
			line += " if " + hex.EncodeToString(tag)
		}
		if _, ok := r.Option(coap.IfNoneMatch); ok {
			line += " if none"
		}
		if len(r.Body) > 0 {
			line += " " + string(r.Body)
		}
		asked <- line
		return answered(coap.Changed, `{}`)
	}})
	key = f.identity.Fingerprint()
	conn, _ := f.dial(t, DialOptions{})
	ctx, at := within(t), Terms{Version: version}
	when := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	name := "phone"
	for _, test := range []struct {
		want string
		call func() error
	}{
		{`POST /users/bob {}`, func() error { _, err := conn.AddUser(ctx, "bob", NewUser{}); return err }},
		{`POST /users/bob {"role":"user","expires":"2030-01-02T03:04:05Z","key":"` + key.String() + `","key_name":"phone"}`, func() error {
			_, err := conn.AddUser(ctx, "bob", NewUser{"user", when, key, name})
			return err
		}},
		{`DELETE /users/b@b?force=true if ` + version, func() error { return conn.RemoveUser(ctx, "b@b", Terms{version, true}) }},
		{`PUT /users/bob/name if ` + version + ` {"name":"rob"}`, func() error { _, err := conn.RenameUser(ctx, "bob", "rob", at); return err }},
		{`PUT /users/bob/role?force=true {"role":"guest"}`, func() error {
			_, err := conn.SetRole(ctx, "bob", "guest", Terms{Force: true})
			return err
		}},
		{`PUT /users/bob/expires {}`, func() error { _, err := conn.SetExpiry(ctx, "bob", time.Time{}, Terms{}); return err }},
		{`PUT /users/bob/policies {"policies":[]}`, func() error { _, err := conn.SetPolicies(ctx, "bob", nil, Terms{}); return err }},
		{`POST /users/bob/keys/` + key.String() + ` {"name":"phone"}`, func() error {
			_, err := conn.AddKey(ctx, "bob", key, NewKey{Name: name}, Terms{})
			return err
		}},
		{`PUT /users/bob/keys/` + key.String() + ` {"name":"phone","policies":[]}`, func() error {
			_, err := conn.ChangeKey(ctx, "bob", key, KeyChange{Name: &name, Policies: new([]string)}, Terms{})
			return err
		}},
		{`DELETE /users/bob/keys/` + key.String(), func() error { return conn.RemoveKey(ctx, "bob", key, Terms{}) }},
		{`DELETE /roles/kid if ` + version, func() error { return conn.RemoveRole(ctx, "kid", at) }},
		{`DELETE /policies/kid`, func() error { return conn.RemovePolicy(ctx, "kid", Terms{}) }},
		{`DELETE /invites/abc`, func() error { return conn.RemoveInvite(ctx, "abc") }},
		{`PUT /device/name {"name":"Kitchen light"}`, func() error { return conn.SetName(ctx, "Kitchen light") }},
	} {
		if err := test.call(); err != nil {
			t.Errorf("%s: %v", test.want, err)
			continue
		}
		if got := <-asked; got != test.want {
			t.Errorf("asked %s\n want %s", got, test.want)
		}
	}
	if _, err := conn.SetRole(ctx, "bob", "guest", Terms{Version: "no hex"}); err == nil || len(asked) > 0 {
		t.Errorf("a version that is none: %v", err)
	}
}

// TestPages: lists are read to their end, also from a device that has none.
func TestPages(t *testing.T) {
	for _, test := range []struct {
		name  string
		pages map[string]string // by the query
		want  string
		fails bool
	}{
		{"none", map[string]string{"": `[]`}, "", false},
		{"three parts", map[string]string{
			"": `[{"id":"a"},{"id":"b c"}]`, "after=b c": `[{"id":"d&e"}]`, "after=d&e": `[]`,
		}, "a,b c,d&e", false},
		{"no end", map[string]string{"": `[{"id":"a"}]`, "after=a": `[{"id":"a"}]`}, "", true},
		{"no list", map[string]string{"": `{}`}, "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t, &fake{handler: func(_ context.Context, r *coap.Request) *coap.Response {
				return answered(coap.Content, test.pages[strings.Join(r.Query, "|")])
			}})
			conn, _ := f.dial(t, DialOptions{})
			list, err := conn.Invites(within(t))
			if test.fails {
				if !errors.Is(err, latchkey.ErrProtocol) {
					t.Errorf("Invites = %v", err)
				}
				return
			}
			var ids []string
			for _, i := range list {
				ids = append(ids, i.ID)
			}
			if got := strings.Join(ids, ","); err != nil || got != test.want {
				t.Errorf("Invites = %s, %v; want %s", got, err, test.want)
			}
		})
	}
}
