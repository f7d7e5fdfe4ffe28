package device

import (
	"context"
	"strings"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/gate"
	"github.com/latchkey-dev/latchkey/pairing"
)

// Paths of the resources that every device has (docs/protocol.md section 4).
const (
	pathCore     = "/.well-known/core"
	pathInfo     = "/device/info"
	pathServices = "/services"
	pathMe       = "/me"
	pathPairing  = "/pairing"
	pathBase     = "/basestation"
)

// Objects of resources that are no wildcards of the path.
const (
	caller = "the caller"       // the name of who asks
	last   = "the last segment" // of the path
)

// A resource is one method of one of the device's own paths: what the door is
// asked, and what answers.
type resource struct {
	pattern string // with {name} for one segment that is not empty
	method  coap.Code
	action  acl.Action
	self    acl.Action // instead of action where {user} is the caller; "": the same
	object  string     // what the door judges: a wildcard by its name, caller, or last; "": the path
	takes   takes
	run     handler
}

// takes says which options a resource understands beside the usual ones.
type takes uint8

const (
	takesAfter   takes = 1 << iota // the query after=NAME: what comes behind it in a list
	takesForce                     // the query force=true: even the last administrator
	takesVersion                   // If-Match with the version of what is changed
	takesFresh                     // If-None-Match: only if there is nothing yet
)

// A handler answers a call.
type handler func(*peer, context.Context, *call) *coap.Response

// resources returns all rows. (A variable would depend on itself, by what its
// handlers call.)
func resources() []resource {
	return []resource{
		{pattern: pathCore, method: GET, action: acl.CoAPGet, run: plain((*peer).core)},
		{pattern: pathInfo, method: GET, action: acl.CoAPGet, run: plain((*peer).info)},
		{pattern: pathServices, method: GET, action: acl.CoAPGet, run: plain((*peer).listServices)},
		{pattern: pathMe, method: GET, action: acl.SelfRead, object: caller, run: plain((*peer).me)},
		{pattern: pathBase, method: GET, action: acl.SelfRead, object: caller, run: plain((*peer).basestation)},
		{pattern: pathPairing, method: GET, action: acl.PairRead, run: plain((*peer).pairingStatus)},
		{pattern: "/pairing/local-initial", method: POST, action: acl.PairLocalInitial, object: last, run: pairs(pairing.LocalInitial)},
		{pattern: "/pairing/local-open", method: POST, action: acl.PairLocalOpen, object: last, run: pairs(pairing.LocalOpen)},
		{pattern: "/pairing/password-open", method: POST, action: acl.PairPasswordOpen, object: last, run: pairs(pairing.PasswordOpen)},
		{pattern: "/pairing/invite", method: POST, action: acl.PairInvite, object: last, run: pairs(pairing.Invite)},
		{pattern: "/token", method: POST, action: acl.TokenLogin, run: plain((*peer).login)},

		{pattern: "/users", method: GET, action: acl.UserList, takes: takesAfter, run: managed(listUsers)},
		{pattern: "/users/{user}", method: GET, action: acl.UserShow, self: acl.SelfRead, object: "user", run: managed(showUser)},
		{pattern: "/users/{user}", method: POST, action: acl.UserCreate, object: "user", run: managed(addUser)},
		{pattern: "/users/{user}", method: DELETE, action: acl.UserRemove, self: acl.SelfRemove, object: "user", takes: takesVersion | takesForce, run: managed(removeUser)},
		{pattern: "/users/{user}/name", method: PUT, action: acl.UserRename, self: acl.SelfRename, object: "user", takes: takesVersion, run: managed(renameUser)},
		{pattern: "/users/{user}/role", method: PUT, action: acl.UserRole, object: "user", takes: takesVersion | takesForce, run: managed(setRole)},
		{pattern: "/users/{user}/expires", method: PUT, action: acl.UserExpire, object: "user", takes: takesVersion | takesForce, run: managed(setExpiry)},
		{pattern: "/users/{user}/policies", method: PUT, action: acl.UserPolicies, object: "user", takes: takesVersion | takesForce, run: managed(setPolicies)},
		{pattern: "/users/{user}/keys/{key}", method: POST, action: acl.KeyAdd, self: acl.SelfKeyAdd, object: "user", takes: takesVersion, run: managed(addKey)},
		{pattern: "/users/{user}/keys/{key}", method: PUT, action: acl.KeyChange, self: acl.SelfKeyChange, object: "user", takes: takesVersion | takesForce, run: managed(changeKey)},
		{pattern: "/users/{user}/keys/{key}", method: DELETE, action: acl.KeyRemove, self: acl.SelfKeyRemove, object: "user", takes: takesVersion | takesForce, run: managed(removeKey)},

		{pattern: "/roles", method: GET, action: acl.RoleList, takes: takesAfter, run: managed(listRoles)},
		{pattern: "/roles/{role}", method: GET, action: acl.RoleShow, object: "role", run: managed(showRole)},
		{pattern: "/roles/{role}", method: PUT, action: acl.RolePut, object: "role", takes: takesVersion | takesFresh | takesForce, run: managed(putRole)},
		{pattern: "/roles/{role}", method: DELETE, action: acl.RoleRemove, object: "role", takes: takesVersion, run: managed(removeRole)},
		{pattern: "/policies", method: GET, action: acl.PolicyList, takes: takesAfter, run: managed(listPolicies)},
		{pattern: "/policies/{policy}", method: GET, action: acl.PolicyShow, object: "policy", run: managed(showPolicy)},
		{pattern: "/policies/{policy}", method: PUT, action: acl.PolicyPut, object: "policy", takes: takesVersion | takesFresh | takesForce, run: managed(putPolicy)},
		{pattern: "/policies/{policy}", method: DELETE, action: acl.PolicyRemove, object: "policy", takes: takesVersion, run: managed(removePolicy)},

		{pattern: "/invites", method: GET, action: acl.InviteList, takes: takesAfter, run: managed(listInvites)},
		{pattern: "/invites/{user}", method: POST, action: acl.InviteCreate, object: "user", run: managed(invite)},
		{pattern: "/invites/{id}", method: DELETE, action: acl.InviteRemove, object: "id", run: managed(removeInvite)},

		{pattern: "/device/name", method: PUT, action: acl.DeviceRename, run: managed(renameDevice)},
		{pattern: "/settings", method: GET, action: acl.SettingsRead, run: managed(showSettings)},
		{pattern: "/settings/pairing/{mode}", method: PUT, action: acl.SettingsWrite, run: managed(setPairing)},
		{pattern: "/audit", method: GET, action: acl.AuditRead, takes: takesAfter, run: managed(readAudit)},
	}
}

// A table has the resources by the first segment of their paths.
type table map[string][]resource

func newTable(list []resource) table {
	t := make(table)
	for _, r := range list {
		first := splitPath(r.pattern)[0]
		t[first] = append(t[first], r)
	}
	return t
}

// match returns what the wildcards of pattern stand for in the segments of a
// path, or false.
func match(pattern string, parts []string) (map[string]string, bool) {
	want := splitPath(pattern)
	if len(want) != len(parts) {
		return nil, false
	}
	var values map[string]string
	for i, s := range want {
		name, wild := strings.CutPrefix(s, "{")
		switch {
		case !wild && s != parts[i], wild && parts[i] == "":
			return nil, false
		case wild && values == nil:
			values = make(map[string]string, 2)
		}
		if wild {
			values[strings.TrimSuffix(name, "}")] = parts[i]
		}
	}
	return values, true
}

// find returns the resource for path and method, and what its wildcards stand for.
// A path that is known under another method only belongs to the device too: the
// resource then refuses the method.
func (t table) find(path string, method coap.Code) (res resource, values map[string]string, own bool) {
	parts := splitPath(path)
	if len(parts) == 0 {
		return resource{}, nil, false
	}
	for _, r := range t[parts[0]] {
		v, ok := match(r.pattern, parts)
		if ok && r.method == method {
			return r, v, true
		}
		own = own || ok
	}
	return resource{action: coapAction("coap", method), run: notAllowed}, nil, own
}

func notAllowed(*peer, context.Context, *call) *coap.Response {
	return refuse(latchkey.ErrMethodNotAllowed)
}

// builtin finds the device's own resource for path and method. It comes before the
// door is asked.
func (p *peer) builtin(path string, method coap.Code) (operation, bool) {
	res, values, own := p.srv.builtins.find(path, method)
	if !own {
		return operation{}, false
	}
	changed := p.srv.changed() // before the door is asked, so that no change is missed
	action, object := res.action, path
	user := values["user"]
	if res.self != "" && user == p.user() {
		action = res.self
	}
	switch {
	case res.object == caller:
		object = p.user()
	case res.object == last:
		object = path[strings.LastIndexByte(path, '/')+1:]
	case res.object != "":
		object = values[res.object]
	}
	return operation{action: action, resource: object, run: func(ctx context.Context, pass gate.Pass, r *coap.Request) *coap.Response {
		if _, err := pass.Redeem(action); err != nil {
			return refuse(err)
		}
		judged := pass.Request()
		if action == res.self && judged.User != user { // was renamed before the door was asked
			return refuse(latchkey.ErrForbidden)
		}
		return res.run(p, ctx, &call{Request: r, judged: judged, resource: res, values: values, changed: changed})
	}}, true
}
