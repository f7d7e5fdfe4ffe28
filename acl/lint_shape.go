package acl

import "strings"

// what is the part of an action before the colon.
func (a Action) what() string {
	what, _, _ := strings.Cut(string(a), ":")
	return what
}

// reads reports whether an action only looks.
func (a Action) reads() bool {
	switch a {
	case CoAPGet, CoAPFetch, CoAPObserve, RouteGet, RouteFetch, RouteObserve, ServiceList, PairRead:
		return true
	}
	return false
}

// shapes are the patterns of all resources that an action can be about, by what
// it does.
var shapes = map[string]*resourcePattern{
	"coap":     mustPattern("/**"),
	"route":    {segments: []segment{{kind: oneSegment}, {kind: exactly}, {kind: anySegments}}, first: -1}, // a URL
	"settings": mustPattern("/settings/**"),
	"device":   mustPattern("/device/name"),
	"audit":    mustPattern("/audit"),
	"token":    mustPattern("/token"),
}

// lists are the actions whose resource is that one path.
var lists = map[Action]*resourcePattern{
	PairRead: mustPattern("/pairing"), UserList: mustPattern("/users"), RoleList: mustPattern("/roles"),
	PolicyList: mustPattern("/policies"), InviteList: mustPattern("/invites"),
}

var oneName = mustPattern("*")

// shape returns the pattern of all resources that an action can be about.
func (a Action) shape() *resourcePattern {
	if p := lists[a]; p != nil {
		return p
	}
	if p := shapes[a.what()]; p != nil {
		return p
	}
	if mode, ok := strings.CutPrefix(string(a), "pair:"); ok {
		return mustPattern(mode)
	}
	return oneName
}

// mustPattern compiles a pattern that is known to be good.
func mustPattern(s string) *resourcePattern {
	p, err := compileResource(s)
	if err != nil {
		panic(err) // only if the text of this file were wrong
	}
	return p
}

// known reports whether a request for an action can have an attribute at all.
func (a Action) has(attr attribute) bool {
	return attr.kind != serviceType || a.what() == "tunnel" || a == ServiceList
}

// of returns the known actions of a set.
func (set actionSet) list() (out []Action) {
	for i, a := range known {
		if set&(1<<i) != 0 {
			out = append(out, a)
		}
	}
	return out
}
