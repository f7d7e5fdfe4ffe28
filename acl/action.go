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

// Actions of a user on itself. The resource is the user's name.
const (
	SelfRead Action = "self:read"
)

// known lists every action there is. A pattern in a policy that matches none of
// them is a mistake, and the loader says so.
var known = []Action{
	CoAPGet, CoAPPost, CoAPPut, CoAPDelete, CoAPFetch, CoAPPatch, CoAPIPatch, CoAPObserve,
	RouteGet, RoutePost, RoutePut, RouteDelete, RouteFetch, RoutePatch, RouteIPatch, RouteObserve,
	TunnelOpen, ServiceList,
	PairRead, PairLocalInitial, PairLocalOpen, PairPasswordOpen, PairInvite,
	SelfRead,
}

// Actions lists every action there is.
func Actions() []Action { return slices.Clone(known) }

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
	for _, a := range known {
		if p.matches(a) {
			return p, nil
		}
	}
	return p, mistake("unknown action %q", s)
}
