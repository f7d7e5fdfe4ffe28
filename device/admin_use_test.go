package device

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/roster"
)

// do sends a request and reads the answer in JSON into a map.
func (o *office) do(conn *client.Conn, method Method, path, body string) (map[string]any, error) {
	o.t.Helper()
	answer, err := conn.Do(o.ctx, request(method, path, body))
	if err != nil {
		return nil, err
	}
	out := make(map[string]any)
	if len(answer.Body) > 0 && answer.Body[0] == '{' {
		if err := json.Unmarshal(answer.Body, &out); err != nil {
			o.t.Errorf("%s %s: %q: %v", methodName(method), path, answer.Body, err)
		}
	}
	return out, nil
}

func (o *office) must(conn *client.Conn, method Method, path, body string) map[string]any {
	o.t.Helper()
	out, err := o.do(conn, method, path, body)
	if err != nil {
		o.t.Fatalf("%s %s %s: %v", methodName(method), path, body, err)
	}
	return out
}

// key is a fingerprint that nobody has yet.
func (o *office) key() string { return o.identity("spare").Fingerprint().String() }

// TestAdministration walks through what an administrator does from afar.
func TestAdministration(t *testing.T) {
	o := newOffice(t, nil)
	olga := o.as("olga")
	key := o.key()
	for _, step := range []struct {
		method Method
		path   string
		body   string
		field  string // of the answer
		want   string
	}{
		{POST, "/users/ann", `{"role":"user","key":"` + key + `","key_name":"phone","expires":"2099-01-02T03:04:05Z"}`, "role", "user"},
		{GET, "/users/ann", "", "expires", "2099-01-02T03:04:05Z"},
		{PUT, "/users/ann/expires", `{}`, "expires", "<nil>"},
		{PUT, "/users/ann/role", `{"role":"guest"}`, "role", "guest"},
		{PUT, "/policies/spare", `{"name":"spare","statements":[{"effect":"allow","actions":["coap:get"],"resources":["/x"]}]}`, "name", "spare"},
		{GET, "/policies/spare", "", "roles", "[]"},
		{PUT, "/users/ann/policies", `{"policies":["spare"]}`, "policies", "[spare]"},
		{PUT, "/users/ann/name", `{"name":"anna"}`, "name", "anna"},
		{PUT, "/users/anna/keys/" + key, `{"name":"tablet","policies":["spare"]}`, "name", "anna"},
		{POST, "/users/anna/keys/" + o.key(), ``, "name", "anna"},
		{DELETE, "/users/anna/keys/" + key, "", "", ""},
		{PUT, "/roles/staff", `{"policies":["spare"],"includes":["guest"]}`, "includes", "[guest]"},
		{GET, "/roles/staff", "", "policies", "[spare]"},
		{PUT, "/roles/staff", `{"name":"staff","policies":[]}`, "includes", "<nil>"},
		{DELETE, "/roles/staff", "", "", ""},
		{DELETE, "/users/anna", "", "", ""},
		{DELETE, "/policies/spare", "", "", ""},
		{PUT, "/settings/pairing/local-open", `{"open":false}`, "", ""},
		{GET, "/settings", "", "pairing", "[]"},
		{PUT, "/settings/pairing/local-open", `{"open":true,"for":"10m"}`, "", ""},
		{GET, "/settings", "", "pairing", "[local-open]"},
		{POST, "/invites/ida", `{"role":"user"}`, "", ""},
		{GET, "/settings", "", "pairing", "[local-open invite]"},
		{PUT, "/device/name", `{"name":"kitchen"}`, "", ""},
		{GET, "/settings", "", "name", "kitchen"},
		{GET, "/device/info", "", "name", "kitchen"},
		{PUT, "/device/name", `{"name":""}`, "", ""},
		{GET, "/device/info", "", "name", "configured"},
	} {
		out := o.must(olga, step.method, step.path, step.body)
		if got := fmt.Sprint(out[step.field]); step.field != "" && got != step.want {
			t.Errorf("%s %s %s: %s is %s, want %s", methodName(step.method), step.path, step.body, step.field, got, step.want)
		}
	}
}

// TestBadBodies: what is not just what is documented changes nothing.
func TestBadBodies(t *testing.T) {
	o := newOffice(t, func(d *Device, _ *acl.Store) { d.Limits.Refusals = 1000 })
	olga := o.as("olga")
	key := o.keys["gus"].Fingerprint().String()
	changed := o.store.Changed()
	var list []string
	for _, body := range []string{
		`[]`, `"x"`, `null`, `{`, `{}x`, `{} {}`, `{"x":1}`, `{"Role":"user"}`, `{"role":"user","role":"admin"}`, `{"role":null}`,
		`{"role":1}`, `{"role":["user"]}`, `{"role":"user","policies":[]}`, "{\"role\":\"us\xff\"}", `{"expires":"tomorrow"}`,
		`{"expires":1}`, `{"key":"abc"}`, `{"key_name":"` + strings.Repeat("x", 65) + `"}`, `{"role":"unpaired"}`, `{"key":"` + o.key() + `","key_name":"a\nb"}`,
	} {
		list = append(list, "POST /users/new "+body)
	}
	list = append(list,
		`PUT /users/gus/role {}`, `PUT /users/gus/role {"role":"user","force":"yes"}`, `PUT /users/gus/name {}`,
		`PUT /users/gus/name {"name":"a/b"}`, `PUT /users/gus/name {"name":"\u0000"}`, `PUT /users/gus/policies {"policies":"guest"}`,
		`PUT /users/gus/policies {"policies":["guest",null]}`, `PUT /users/gus/policies {}`, `PUT /users/gus/policies {"policies":null}`,
		`PUT /users/gus/keys/`+key+` {"name":"a\nb"}`, `PUT /roles/new {}`, `PUT /roles/new {"name":"other","policies":[]}`,
		`PUT /roles/New {"policies":[]}`, `PUT /policies/new {"name":"other","statements":[]}`, `PUT /policies/new {"statements":[]}`,
		`PUT /policies/new {"name":"new","statements":[{"effect":"Allow","actions":["*"],"resources":["**"]}]}`,
		`PUT /policies/new {"name":"new","statements":[{"effect":"allow","actions":"*","resources":["**"]}]}`,
		`PUT /policies/new {"name":"new","statements":[{"effect":"allow","actions":["*"],"resources":["**"],"conditions":[{"attribute":"mood","operator":"equals","values":["good"]}]}]}`,
		`PUT /device/name {}`, `PUT /device/name {"name":"a\tb"}`, `PUT /device/name {"name":"`+strings.Repeat("x", 129)+`"}`,
		`PUT /settings/pairing/local-open {}`, `PUT /settings/pairing/local-open {"open":1}`,
		`PUT /settings/pairing/local-open {"open":true,"for":"-1m"}`, `PUT /settings/pairing/local-open {"open":true,"for":"1000000h"}`,
		`POST /invites/new {"expires":"2001-01-01T00:00:00Z"}`, `POST /invites/new {"expires":"2999-01-01T00:00:00Z"}`, `POST /invites/.a {}`,
	)
	for _, text := range list {
		method, rest, _ := strings.Cut(text, " ")
		path, body, _ := strings.Cut(rest, " ")
		if _, err := o.do(olga, parseMethod(method), path, body); !errors.Is(err, latchkey.ErrProtocol) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, want := range map[string]error{
		"POST /users/new {\"role\":\"" + strings.Repeat("x", maxForm) + "\"}":             latchkey.ErrTooLarge,
		"PUT /policies/new {\"name\":\"" + strings.Repeat("x", acl.MaxPolicySize) + "\"}": latchkey.ErrTooLarge,
		"POST /users/gus {}": latchkey.ErrConflict, "POST /users/GUS {}": latchkey.ErrConflict,
		"POST /users/new {\"role\":\"none\"}":                                  latchkey.ErrNotFound,
		"POST /users/gus/keys/" + strings.ToUpper(key) + " {}":                 latchkey.ErrNotFound,
		"POST /users/gus/keys/" + key + " {}":                                  latchkey.ErrConflict,
		"PUT /users/olga/keys/" + key + " {\"name\":\"x\"}":                    latchkey.ErrNotFound,
		"PUT /settings/pairing/none {\"open\":true}":                           latchkey.ErrNotFound,
		"PUT /settings/pairing/local-initial {\"open\":true}":                  latchkey.ErrConflict,
		"PUT /settings/pairing/password-open {\"open\":true}":                  latchkey.ErrConflict,
		"POST /invites/gus {}":                                                 latchkey.ErrConflict,
		"PUT /roles/new {\"policies\":[\"none\"]}":                             latchkey.ErrNotFound,
		"PUT /roles/guest {\"policies\":[\"guest\"],\"includes\":[\"guest\"]}": latchkey.ErrConflict,
		"DELETE /roles/guest":                                                  latchkey.ErrConflict,
		"DELETE /policies/guest":                                               latchkey.ErrConflict,
		"DELETE /users/olga":                                                   latchkey.ErrConflict,
		"DELETE /users/none":                                                   latchkey.ErrNotFound,
	} {
		method, rest, _ := strings.Cut(text, " ")
		path, body, _ := strings.Cut(rest, " ")
		if _, err := o.do(olga, parseMethod(method), path, body); !errors.Is(err, want) {
			t.Errorf("%.60s: %v, want %v", text, err, want)
		}
	}
	select {
	case <-changed:
		t.Error("something was changed")
	default:
	}
}

// TestOptionsAreUnderstoodOrRefused.
func TestOptionsAreUnderstoodOrRefused(t *testing.T) {
	o := newOffice(t, nil)
	olga := o.as("olga")
	send := func(method Method, path, body string, change func(*client.Request)) string {
		r := request(method, path, body)
		if change != nil {
			change(r)
		}
		_, err := olga.Do(o.ctx, r)
		if err == nil {
			return ""
		}
		return err.Error()
	}
	match := func(tag []byte) func(*client.Request) { return func(r *client.Request) { r.IfMatch = tag } }
	account := o.must(olga, GET, "/users/gus", "")
	tag, err := hex.DecodeString(fmt.Sprint(account["version"]))
	if err != nil || len(tag) != roster.VersionBytes {
		t.Fatalf("version %v", account["version"])
	}
	for name, c := range map[string]struct {
		got, want string
	}{
		"a query that is unknown":   {send(GET, "/users?before=x", "", nil), "4.02"},
		"force where it means none": {send(PUT, "/users/gus/name?force=true", `{"name":"gus"}`, nil), "4.02"},
		"a version of nothing":      {send(PUT, "/device/name", `{"name":"x"}`, match(tag)), "4.02"},
		"a version too short":       {send(PUT, "/users/gus/role", `{"role":"user"}`, match(tag[:4])), "4.02"},
		"only if new, of users":     {send(POST, "/users/x", `{}`, func(r *client.Request) { r.IfNoneMatch = true }), "4.02"},
		"text":                      {send(PUT, "/users/gus/role", `{"role":"user"}`, func(r *client.Request) { r.Format = FormatText }), "4.15"},
	} {
		if !strings.Contains(c.got, c.want) {
			t.Errorf("%s: %q, want %s", name, c.got, c.want)
		}
	}
	if got := send(PUT, "/users/gus/role", `{"role":"user"}`, match(tag)); got != "" {
		t.Errorf("at its version: %s", got)
	}
	for what, err := range map[string]error{
		"passed":     second2(olga.SetRole(o.ctx, "gus", "guest", client.Terms{Version: hex.EncodeToString(tag)})),
		"there":      second2(olga.Do(o.ctx, fresh("/roles/guest", `{"policies":["guest"]}`))),
		"there, too": second2(olga.Do(o.ctx, fresh("/policies/guest", `{"name":"guest","statements":[]}`))),
	} {
		if !errors.Is(err, latchkey.ErrConflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := olga.Do(o.ctx, fresh("/roles/new", `{"policies":["guest"]}`)); err != nil {
		t.Errorf("only if new: %v", err)
	}
	answer, err := olga.Do(o.ctx, request(GET, "/users/gus", ""))
	if err != nil {
		t.Fatal(err)
	}
	var now acl.Account
	if err := json.Unmarshal(answer.Body, &now); err != nil || now.Version != hex.EncodeToString(answer.ETag) {
		t.Errorf("version %s, ETag %x, %v", now.Version, answer.ETag, err)
	}
	if err := olga.RemoveUser(o.ctx, "olga", client.Terms{Force: true}); err != nil {
		t.Errorf("forced: %v", err)
	}
}

func fresh(path, body string) *client.Request {
	r := request(PUT, path, body)
	r.IfNoneMatch = true
	return r
}

func second2[T any](_ T, err error) error { return err }

// TestLists come in pages that begin behind a name.
func TestLists(t *testing.T) {
	o := newOffice(t, nil)
	const users = 1200
	o.update(func(tx *acl.Tx) error {
		for i := range users {
			if err := tx.AddUser(acl.User{Name: fmt.Sprintf("user%04d", i), Role: acl.RoleGuest}); err != nil {
				return err
			}
		}
		return nil
	})
	olga := o.as("olga")
	answer, err := olga.Do(o.ctx, request(GET, "/users", ""))
	if err != nil || len(answer.Body) > maxPage+maxPage/8 {
		t.Fatalf("%d bytes, %v", len(answer.Body), err)
	}
	all, err := olga.Users(o.ctx)
	if err != nil || len(all) != users+3 || !slices.IsSortedFunc(all, func(a, b client.Account) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("%d users, %v", len(all), err)
	}
	for path, want := range map[string]string{
		"/roles": "admin guest unpaired user", "/policies": "admin guest unpaired user", "/roles?after=guest": "unpaired user", "/users?after=zzz": "",
	} {
		answer, err := olga.Do(o.ctx, request(GET, path, ""))
		if err != nil {
			t.Fatal(err)
		}
		var list []struct{ Name string }
		if err := json.Unmarshal(answer.Body, &list); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, item := range list {
			names = append(names, item.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// TestForbiddenBeforeNotFound: a guest learns of nothing whether it is there.
func TestForbiddenBeforeNotFound(t *testing.T) {
	o := newOffice(t, func(d *Device, _ *acl.Store) { d.Limits.Refusals = 10_000 })
	gus := o.as("gus")
	before := o.generation()
	for _, e := range judged {
		if e.may != "---a" {
			continue
		}
		_, pattern, _ := strings.Cut(e.resource, " ")
		for _, user := range []string{"olga", "nobody"} {
			for _, method := range methods {
				if _, err := o.do(gus, method, fill(pattern, user), `{"role":"admin"}`); !errors.Is(err, latchkey.ErrForbidden) {
					t.Errorf("%s %s: %v", methodName(method), fill(pattern, user), err)
				}
			}
		}
	}
	if o.generation() != before {
		t.Error("something was changed")
	}
}

func (o *office) generation() (n uint64) {
	o.t.Helper()
	err := o.store.View(func(tx *acl.Tx) error {
		n = tx.Generation()
		return nil
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return n
}

// TestSelf: a guest manages itself.
func TestSelf(t *testing.T) {
	o := newOffice(t, nil)
	gus := o.as("gus")
	soon := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	o.update(func(tx *acl.Tx) error {
		k, _ := tx.Key(o.keys["gus"].Fingerprint())
		k.Expires, k.Policies = soon, []string{acl.RoleGuest}
		return tx.SetKey(k)
	})
	phone := o.identity("phone").Fingerprint()
	a, err := gus.AddKey(o.ctx, "gus", phone, client.NewKey{Name: "phone"}, client.Terms{})
	if err != nil || len(a.Keys) != 2 {
		t.Fatalf("add a key: %+v, %v", a, err)
	}
	for _, k := range a.Keys {
		if k.Fingerprint == phone && (!k.Expires.Equal(soon) || !slices.Equal(k.Policies, []string{acl.RoleGuest})) {
			t.Errorf("the new key is worth more: %+v", k)
		}
	}
	later := soon.Add(time.Hour)
	if _, err := gus.ChangeKey(o.ctx, "gus", phone, client.KeyChange{Expires: &later}, client.Terms{}); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("gave a key more time: %v", err)
	}
	if _, err := gus.RenameUser(o.ctx, "gus", "gustav", client.Terms{}); err != nil {
		t.Errorf("rename: %v", err)
	}
	if me, err := gus.Me(o.ctx); err != nil || me != "gustav" {
		t.Errorf("I am %q, %v", me, err)
	}
	if _, err := gus.User(o.ctx, "gus"); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("the old name: %v", err)
	}
	if err := gus.RemoveKey(o.ctx, "gustav", phone, client.Terms{}); err != nil {
		t.Errorf("remove a key: %v", err)
	}
}

// TestWhoEndsItselfIsAnswered: the last thing that users do is answered before
// their session ends, and it ends.
func TestWhoEndsItselfIsAnswered(t *testing.T) {
	o := newOffice(t, nil)
	for i := range 20 {
		name := fmt.Sprintf("leaver%d", i)
		o.admit(name, acl.RoleGuest)
		conn := o.as(name)
		var err error
		if i%2 == 0 {
			err = conn.RemoveUser(o.ctx, name, client.Terms{})
		} else {
			err = conn.RemoveKey(o.ctx, name, o.keys[name].Fingerprint(), client.Terms{})
		}
		if err != nil {
			t.Errorf("%s was told %v", name, err)
		}
		select {
		case <-conn.Context().Done():
		case <-o.ctx.Done():
			t.Fatal("the session goes on")
		}
		if _, err := conn.Get(o.ctx, "/me"); !errors.Is(err, latchkey.ErrRevoked) {
			t.Errorf("%s ended with %v", name, err)
		}
	}
}

// TestInvitedFromAfar: the URL of an invitation lets one in, and the device's log
// says who invited.
func TestInvitedFromAfar(t *testing.T) {
	o := newOffice(t, nil)
	made, err := o.as("olga").Invite(o.ctx, "ida", acl.RoleUser, time.Hour)
	u := made.URL
	if err != nil || made.ID != u.Invite || made.User != "ida" || made.Role != acl.RoleUser || made.Expires.IsZero() || u.User != "ida" || u.Invite == "" || u.Password.Reveal() == "" || u.Key != o.info.Fingerprint {
		t.Fatalf("invited %+v, %v", made, err)
	}
	list, err := o.as("olga").Invites(o.ctx)
	if err != nil || len(list) != 1 || list[0].ID != u.Invite || list[0].By != "olga" || list[0].Role != acl.RoleUser {
		t.Errorf("list %+v, %v", list, err)
	}
	c := &client.Client{Dir: t.TempDir(), Logger: o.Logger, NoDiscovery: true}
	t.Cleanup(func() { _ = c.Close() })
	paired, err := c.Pair(o.ctx, u, client.PairOptions{Alias: "home"})
	if err != nil || paired.User != "ida" || paired.Role != acl.RoleUser {
		t.Fatalf("paired %+v, %v", paired, err)
	}
	if list, err := o.as("olga").Invites(o.ctx); err != nil || len(list) != 0 {
		t.Errorf("it is still there: %+v, %v", list, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	told := slices.ContainsFunc(o.events, func(e acl.Event) bool {
		return e.Kind == acl.EventInvite && e.Action == acl.InviteCreate && e.Object == "ida" && e.User == "olga" && e.Outcome == acl.OutcomeOK
	})
	if !told {
		t.Errorf("nobody was told: %+v", o.events)
	}
	for _, e := range o.events {
		if text := fmt.Sprintf("%+v", e); strings.Contains(text, u.Password.Reveal()) {
			t.Errorf("the password is in %s", text)
		}
	}
}
