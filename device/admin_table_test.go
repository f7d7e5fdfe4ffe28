package device

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// judged says, for each resource of the device itself, what the door is asked when
// somebody asks for another's ({user} is "other", the rest of the wildcards is
// "thing") and for their own, and who may do it by the default policies: unpaired
// peers, guests, users, administrators.
var judged = []struct {
	resource string
	others   string // action and object
	may      string
	own      string // "": the same
	mayOwn   string
}{
	{"GET /.well-known/core", "coap:get /.well-known/core", "-gua", "", ""},
	{"GET /device/info", "coap:get /device/info", "-gua", "", ""},
	{"GET /services", "coap:get /services", "-gua", "", ""},
	{"GET /me", "self:read ME", "-gua", "", ""},
	{"GET /basestation", "self:read ME", "-gua", "", ""},
	{"GET /pairing", "pair:read /pairing", "xgua", "", ""},
	{"POST /pairing/local-initial", "pair:local-initial local-initial", "xgua", "", ""},
	{"POST /pairing/local-open", "pair:local-open local-open", "xgua", "", ""},
	{"POST /pairing/password-open", "pair:password-open password-open", "xgua", "", ""},
	{"POST /pairing/invite", "pair:invite invite", "xgua", "", ""},
	{"POST /token", "token:login /token", "x--a", "", ""},

	{"GET /users", "user:list /users", "---a", "", ""},
	{"GET /users/{user}", "user:show other", "---a", "self:read", "-gua"},
	{"POST /users/{user}", "user:create other", "---a", "user:create", "---a"},
	{"DELETE /users/{user}", "user:remove other", "---a", "self:remove", "-gua"},
	{"PUT /users/{user}/name", "user:rename other", "---a", "self:rename", "-gua"},
	{"PUT /users/{user}/role", "user:role other", "---a", "user:role", "---a"},
	{"PUT /users/{user}/expires", "user:expire other", "---a", "user:expire", "---a"},
	{"PUT /users/{user}/policies", "user:policies other", "---a", "user:policies", "---a"},
	{"POST /users/{user}/keys/{key}", "key:add other", "---a", "self:key-add", "-gua"},
	{"PUT /users/{user}/keys/{key}", "key:change other", "---a", "self:key-change", "-gua"},
	{"DELETE /users/{user}/keys/{key}", "key:remove other", "---a", "self:key-remove", "-gua"},

	{"GET /roles", "role:list /roles", "---a", "", ""},
	{"GET /roles/{role}", "role:show thing", "---a", "", ""},
	{"PUT /roles/{role}", "role:put thing", "---a", "", ""},
	{"DELETE /roles/{role}", "role:remove thing", "---a", "", ""},
	{"GET /policies", "policy:list /policies", "---a", "", ""},
	{"GET /policies/{policy}", "policy:show thing", "---a", "", ""},
	{"PUT /policies/{policy}", "policy:put thing", "---a", "", ""},
	{"DELETE /policies/{policy}", "policy:remove thing", "---a", "", ""},

	{"GET /invites", "invite:list /invites", "---a", "", ""},
	{"POST /invites/{user}", "invite:create other", "---a", "invite:create", "---a"},
	{"DELETE /invites/{id}", "invite:remove thing", "---a", "", ""},

	{"PUT /device/name", "device:rename /device/name", "---a", "", ""},
	{"GET /settings", "settings:read /settings", "---a", "", ""},
	{"PUT /settings/pairing/{mode}", "settings:write /settings/pairing/thing", "---a", "", ""},
	{"GET /audit", "audit:read /audit", "---a", "", ""},
}

// checkResource finds what would make a row unfit to be judged.
func checkResource(r resource) error {
	known := acl.Actions()
	wildcards := regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(r.pattern, -1)
	has := func(name string) bool {
		return slices.ContainsFunc(wildcards, func(m []string) bool { return m[1] == name })
	}
	switch {
	case !slices.Contains(known, r.action):
		return fmt.Errorf("its action %q is unknown", r.action)
	case r.self != "" && !slices.Contains(known, r.self):
		return fmt.Errorf("its own action %q is unknown", r.self)
	case r.self != "" && (r.object != "user" || !has("user")):
		return errors.New("it has an action for callers themselves, and no {user} to know them by")
	case r.object != "" && r.object != caller && r.object != last && !has(r.object):
		return fmt.Errorf("its object %q is no wildcard", r.object)
	case r.run == nil:
		return errors.New("nothing answers")
	case r.method == GET && r.takes&^takesAfter != 0, r.method != GET && r.takes&takesAfter != 0:
		return errors.New("it takes what its method does not")
	}
	return nil
}

func TestTableIsSound(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range resources() {
		name := methodName(r.method) + " " + r.pattern
		if err := checkResource(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		shape := methodName(r.method) + regexp.MustCompile(`\{\w+\}`).ReplaceAllString(r.pattern, "{}")
		if seen[shape] {
			t.Errorf("%s: there is another for the same paths", name)
		}
		seen[shape] = true
	}
	run := plain((*peer).me)
	for name, r := range map[string]resource{
		"no action":      {pattern: "/x", method: GET, run: run},
		"unknown action": {pattern: "/x", method: GET, action: "user:promote", run: run},
		"unknown self":   {pattern: "/x/{user}", method: GET, action: acl.UserShow, self: "self:promote", object: "user", run: run},
		"self of nobody": {pattern: "/x/{name}", method: GET, action: acl.UserShow, self: acl.SelfRead, object: "name", run: run},
		"no object":      {pattern: "/x", method: GET, action: acl.UserShow, object: "user", run: run},
		"no handler":     {pattern: "/x", method: GET, action: acl.UserShow},
	} {
		if checkResource(r) == nil {
			t.Errorf("a row with %s is taken", name)
		}
	}
}

// TestTableIsJudged asks for every resource by every method, as everybody: the
// door is asked once, about just what is documented, and decides as expected.
func TestTableIsJudged(t *testing.T) {
	errMay := latchkey.ErrTooMany // stands for yes, so that nothing is done
	var mu sync.Mutex
	var asked []string
	o := newOffice(t, func(d *Device, store *acl.Store) {
		d.Limits.Refusals = 1 << 20
		d.Authorize = func(ctx context.Context, r *acl.Request) error {
			mu.Lock()
			asked = append(asked, string(r.Action)+" "+r.Resource)
			mu.Unlock()
			if err := store.Authorize(ctx, r); err != nil {
				return err
			}
			return errMay
		}
	})
	expected := make(map[string]int)
	for i, e := range judged {
		expected[e.resource] = i
	}
	patterns := make(map[string]bool)
	for _, r := range resources() {
		patterns[r.pattern] = true
		if _, ok := expected[methodName(r.method)+" "+r.pattern]; !ok {
			t.Errorf("%s %s: nobody has thought about who may do it", methodName(r.method), r.pattern)
		}
	}
	if n := len(resources()); n != len(judged) {
		t.Errorf("%d resources, %d are expected", n, len(judged))
	}
	people := []struct{ name, letter string }{{"", "x"}, {"gus", "g"}, {"uma", "u"}, {"olga", "a"}}
	for who, person := range people {
		conn := o.as(person.name)
		ask := func(method Method, path, want, letters string) {
			t.Helper()
			mu.Lock()
			asked = nil
			mu.Unlock()
			_, err := conn.Do(o.ctx, request(method, path, `{}`))
			mu.Lock()
			got := slices.DeleteFunc(slices.Clone(asked), func(s string) bool { return s == "self:read "+person.name && s != want })
			mu.Unlock()
			if len(got) == 0 || slices.ContainsFunc(got, func(s string) bool { return s != want }) || len(got) > 1 && want != "self:read "+person.name {
				t.Errorf("%q: %s %s: the door was asked %q, want %q once", person.name, methodName(method), path, got, want)
			}
			no := latchkey.ErrForbidden
			if who == 0 {
				no = latchkey.ErrUnpaired
			}
			if may := letters[who] != '-'; may && !errors.Is(err, errMay) || !may && !errors.Is(err, no) {
				t.Errorf("%q: %s %s: %v, may is %v", person.name, methodName(method), path, err, may)
			}
		}
		for pattern := range patterns {
			for _, method := range methods {
				path := fill(pattern, "other")
				i, ok := expected[methodName(method)+" "+pattern]
				if !ok && twin(pattern, method) {
					continue
				}
				if !ok { // no such method: refused before that is told
					ask(method, path, string(coapAction("coap", method))+" "+path, "--ua")
					continue
				}
				e := judged[i]
				ask(method, path, strings.ReplaceAll(e.others, "ME", person.name), e.may)
				if e.own != "" && person.name != "" {
					ask(method, fill(pattern, person.name), e.own+" "+person.name, e.mayOwn)
				}
			}
		}
	}
}

// twin reports whether a pattern with other names for its wildcards has the method.
func twin(pattern string, method Method) bool {
	return slices.ContainsFunc(resources(), func(r resource) bool {
		return r.method == method && fill(r.pattern, "thing") == fill(pattern, "thing")
	})
}

// fill puts something in the place of each wildcard.
func fill(pattern, user string) string {
	pattern = strings.ReplaceAll(pattern, "{user}", user)
	return regexp.MustCompile(`\{\w+\}`).ReplaceAllString(pattern, "thing")
}

// TestTableIsDocumented compares the table with the one in docs/protocol.md.
func TestTableIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	written := make(map[string]string) // method and path to actions
	row := regexp.MustCompile("(?m)^\\| `(/[^`]*)` \\| ([A-Z]+) \\| (`[^|]*) \\|")
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		actions := regexp.MustCompile("`([a-z]+:[a-zA-Z-]+)`").FindAllStringSubmatch(m[3], -1)
		var names []string
		for _, a := range actions {
			names = append(names, a[1])
		}
		written[m[2]+" "+m[1]] = strings.Join(names, " ")
	}
	want := make(map[string]string)
	for _, r := range resources() {
		path := regexp.MustCompile(`\{(\w+)\}`).ReplaceAllStringFunc(r.pattern, func(s string) string { return strings.ToUpper(s[1 : len(s)-1]) })
		action := string(r.action)
		if r.object == last { // one row for all modes
			path, action = "/pairing/MODE", "pair:MODE"
		}
		if r.self != "" {
			action += " " + string(r.self)
		}
		want[methodName(r.method)+" "+path] = action
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if written[name] != want[name] {
			t.Errorf("%s asks %q, and docs/protocol.md says %q", name, want[name], written[name])
		}
	}
	for name := range written {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is in docs/protocol.md and not in the table", name)
		}
	}
}
