package acl

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// origins are how keys come to a store.
var origins = []string{"local-initial", "local-open", "password-open", "invite", "manual"}

// names finds names of roles, users, services and policies that there are not.
func (l *linter) names() {
	for _, p := range l.doc.Policies {
		for _, s := range sites(p) {
			for i := range s.conditions {
				l.valueNames(s, &s.conditions[i])
			}
			for i := range s.resources {
				l.resourceName(s, &s.resources[i])
			}
		}
	}
}

// there lists the names of a kind, false if they are not known.
func (l *linter) there(kind string) ([]string, bool) {
	switch kind {
	case "role":
		return slices.Sorted(maps.Keys(l.st.roles)), true
	case "policy":
		return slices.Sorted(maps.Keys(l.st.policies)), true
	case "user":
		return slices.Sorted(maps.Keys(l.st.users)), l.around.Users != nil
	case "service":
		return l.around.Services, l.around.Services != nil
	case "issuer":
		return l.around.Issuers, l.around.Issuers != nil
	}
	return origins, kind == "origin"
}

// valueNames looks at what a condition compares with.
func (l *linter) valueNames(s site, c *condition) {
	kind := map[attribute]string{
		{kind: connectionRole}:            "role",
		{kind: connectionUser}:            "user",
		{kind: keyOrigin}:                 "origin",
		{kind: tokenClaim, claim: issuer}: "issuer",
	}[c.attr]
	names, known := l.there(kind)
	if !known {
		return
	}
	for _, t := range c.texts {
		if name := t.String(); !t.varies() && !slices.Contains(names, name) {
			l.unknown(s, s.set, kind, name)
		}
	}
}

// resourceName looks at a resource that is one name.
func (l *linter) resourceName(s site, p *resourcePattern) {
	kind := ""
	for i, a := range s.set.list() {
		k := a.names()
		if i > 0 && k != kind {
			return
		}
		kind = k
	}
	names, known := l.there(kind)
	if !known || len(p.segments) != 1 || p.segments[0].kind != exactly || slices.Contains(names, p.segments[0].text) {
		return
	}
	if kind == "service" && !isServiceID(p.segments[0].text) {
		return // reported as what can never be
	}
	l.unknown(s, s.set, kind, p.segments[0].text)
}

// names says what the resources of an action are the names of, "" if of nothing
// that must be there before.
func (a Action) names() string {
	if lists[a] != nil {
		return ""
	}
	switch a {
	case UserCreate, RolePut, PolicyPut:
		return ""
	}
	switch what := a.what(); what {
	case "tunnel", "service":
		return "service"
	case "user", "key", "self":
		return "user"
	case "role", "policy":
		return what
	}
	return ""
}

// unknown reports a name. The example is somebody of whom the statement speaks as
// if there were that name.
func (l *linter) unknown(s site, set actionSet, kind, name string) {
	h := holder{policies: []*Policy{s.policy}}
	l.witnesses(h, s.statement, set, func(r Request) bool {
		e := l.try(h, r)
		if !e.hits(s) {
			return false
		}
		severity, fix := SeverityWarning, "check the spelling"
		if names, _ := l.there(kind); len(names) > 0 {
			fix += "; there are " + strings.Join(names[:min(len(names), 8)], ", ")
		}
		text := fmt.Sprintf("there is no %s %q", kind, name)
		if kind == "user" {
			text += "; whoever pairs under that name first will be meant"
		}
		l.report(severity, "unknown-"+kind, s, e, text, fix)
		return true
	})
}
