package acl

import (
	"slices"
	"strings"
)

// An Action is what a peer asks to do, WHAT:HOW. The device derives it from the
// request; policies name it in patterns.
type Action string

// Actions on CoAP resources that the device itself serves. The resource is the
// cleaned path.
const (
	CoAPGet     Action = "coap:get"
	CoAPPost    Action = "coap:post"
	CoAPPut     Action = "coap:put"
	CoAPDelete  Action = "coap:delete"
	CoAPFetch   Action = "coap:fetch"
	CoAPPatch   Action = "coap:patch"
	CoAPIPatch  Action = "coap:ipatch"
	CoAPObserve Action = "coap:observe"
)

// Actions on routes. The resource is the exact upstream URL.
const (
	RouteGet     Action = "route:get"
	RoutePost    Action = "route:post"
	RoutePut     Action = "route:put"
	RouteDelete  Action = "route:delete"
	RouteFetch   Action = "route:fetch"
	RoutePatch   Action = "route:patch"
	RouteIPatch  Action = "route:ipatch"
	RouteObserve Action = "route:observe"
)

// Actions on services. The resource is the service id.
const (
	TunnelOpen  Action = "tunnel:open"
	ServiceList Action = "service:list" // may the name be shown
)

// Actions on pairing. The resource is the name of the mode, or "/pairing" for
// PairRead.
const (
	PairRead         Action = "pair:read" // which modes are open
	PairLocalInitial Action = "pair:local-initial"
	PairLocalOpen    Action = "pair:local-open"
	PairPasswordOpen Action = "pair:password-open"
	PairInvite       Action = "pair:invite"
)

// TokenLogin is to show a token that the device validates itself. The resource is
// "/token".
const TokenLogin Action = "token:login"

// Actions of a user on itself. The resource is the user's name.
const (
	SelfRead      Action = "self:read"
	SelfRename    Action = "self:rename"
	SelfRemove    Action = "self:remove"
	SelfKeyAdd    Action = "self:key-add"
	SelfKeyChange Action = "self:key-change"
	SelfKeyRemove Action = "self:key-remove"
)

// Actions on other users and on their keys. The resource is the user's name, or
// "/users" for UserList.
const (
	UserList     Action = "user:list"
	UserShow     Action = "user:show"
	UserCreate   Action = "user:create"
	UserRename   Action = "user:rename"
	UserRemove   Action = "user:remove"
	UserRole     Action = "user:role"
	UserExpire   Action = "user:expire"
	UserPolicies Action = "user:policies"
	KeyAdd       Action = "key:add"
	KeyChange    Action = "key:change"
	KeyRemove    Action = "key:remove"
)

// Actions on rules. The resource is the name of the role or policy, "/roles" or
// "/policies" for the lists.
const (
	RoleList     Action = "role:list"
	RoleShow     Action = "role:show"
	RolePut      Action = "role:put"
	RoleRemove   Action = "role:remove"
	PolicyList   Action = "policy:list"
	PolicyShow   Action = "policy:show"
	PolicyPut    Action = "policy:put"
	PolicyRemove Action = "policy:remove"
)

// Actions on the rest of what the owner decides. The resource is "/invites",
// the invited user's name, the id of the invitation; "/device/name"; "/settings"
// or the setting's path below it; "/audit".
const (
	InviteList    Action = "invite:list"
	InviteCreate  Action = "invite:create"
	InviteRemove  Action = "invite:remove"
	DeviceRename  Action = "device:rename"
	SettingsRead  Action = "settings:read"
	SettingsWrite Action = "settings:write"
	AuditRead     Action = "audit:read"
)

// known lists every action there is. A pattern in a policy that matches none of
// them is a mistake, and the loader says so.
var known = []Action{
	CoAPGet, CoAPPost, CoAPPut, CoAPDelete, CoAPFetch, CoAPPatch, CoAPIPatch, CoAPObserve,
	RouteGet, RoutePost, RoutePut, RouteDelete, RouteFetch, RoutePatch, RouteIPatch, RouteObserve,
	TunnelOpen, ServiceList,
	PairRead, PairLocalInitial, PairLocalOpen, PairPasswordOpen, PairInvite,
	TokenLogin,
	SelfRead, SelfRename, SelfRemove, SelfKeyAdd, SelfKeyChange, SelfKeyRemove,
	UserList, UserShow, UserCreate, UserRename, UserRemove, UserRole, UserExpire, UserPolicies,
	KeyAdd, KeyChange, KeyRemove,
	RoleList, RoleShow, RolePut, RoleRemove, PolicyList, PolicyShow, PolicyPut, PolicyRemove,
	InviteList, InviteCreate, InviteRemove, DeviceRename, SettingsRead, SettingsWrite, AuditRead,
}

// changing are the actions that Silent can answer as if they had been carried
// out.
var changing = []Action{
	CoAPPost, CoAPPut, CoAPDelete, CoAPPatch, CoAPIPatch,
	RoutePost, RoutePut, RouteDelete, RoutePatch, RouteIPatch,
}

// Actions lists every action there is.
func Actions() []Action { return slices.Clone(known) }

// An actionSet has a bit for each known action, of which there are at most 64.
type actionSet uint64

// bits maps each known action to its bit.
var bits = func() map[Action]actionSet {
	out := make(map[Action]actionSet, len(known))
	for i, a := range known {
		out[a] = 1 << i
	}
	return out
}()

// check refuses an action that there is not.
func (a Action) check() error {
	if bits[a] != 0 {
		return nil
	}
	return mistake("unknown action %q", string(a))
}

// An actionPattern is a compiled pattern: an exact action, "WHAT:*", or "*".
type actionPattern struct {
	text string // the action, or with prefix set the part before the *
	any  bool   // the pattern ended in *
}

// matches reports whether a is what the pattern names.
func (p actionPattern) matches(a Action) bool {
	if p.any {
		return strings.HasPrefix(string(a), p.text)
	}
	return string(a) == p.text
}

// compileAction reads a pattern. A * stands alone or after the colon, nowhere
// else, so that nobody takes it for a prefix.
func compileAction(s string) (actionPattern, error) {
	p := actionPattern{text: s}
	if what, ok := strings.CutSuffix(s, "*"); ok {
		p = actionPattern{text: what, any: true}
		if what != "" && !strings.HasSuffix(what, ":") {
			return p, mistake("action pattern %q: a * stands alone or after the colon", s)
		}
	}
	if p.set() == 0 {
		return p, mistake("unknown action %q", s)
	}
	return p, nil
}

// set returns the known actions that the pattern matches.
func (p actionPattern) set() (out actionSet) {
	for i, a := range known {
		if p.matches(a) {
			out |= 1 << i
		}
	}
	return out
}
