package acl

import (
	"slices"
	"strings"
)

// Limits of Lint. Work is counted in comparisons of two segments, and what the
// rest costs is measured by that.
const (
	maxLintWork = 1_000_000 // of each check
	stepWork    = 16        // to ask one statement, with its trace
	tryWork     = 32        // to make one request
	setWork     = 256       // to compare sets of addresses or times
	maxFindings = 1000
)

// A linter holds what Lint knows and has found.
type linter struct {
	doc     *Document
	around  Surroundings
	all     Rules // the document's in the place of those of the same names
	st      *state
	holders []holder
	sites   []site // of the document
	work    int    // comparisons that are left
	found   []Finding
}

// A holder is somebody whom some policies judge together.
type holder struct {
	role, user string
	policies   []*Policy
}

// A site is a statement and where it stands.
type site struct {
	policy *Policy
	index  int
	*statement
}

func newLinter(d *Document, around Surroundings) *linter {
	l := &linter{doc: d, around: around, all: around.with(d), sites: sites(d.Policies...)}
	l.st = l.all.state()
	l.st.resolveLeniently()
	for _, r := range l.all.Roles {
		if policies, whole := l.st.effective[r.Name]; whole {
			l.holders = append(l.holders, holder{role: r.Name, policies: policies})
		}
	}
	l.addUsers()
	for _, p := range d.Policies {
		if !slices.ContainsFunc(l.holders, func(h holder) bool { return slices.Contains(h.policies, p) }) {
			l.holders = append(l.holders, holder{policies: []*Policy{p}})
		}
	}
	return l
}

// addUsers adds one user for each combination of a role and own policies.
func (l *linter) addUsers() {
	seen := make(map[string]bool)
	for _, u := range l.all.Users {
		key := u.Role + " " + strings.Join(u.Policies, " ")
		inherited, whole := l.st.effective[u.Role]
		if len(u.Policies) == 0 || !whole || seen[key] {
			continue
		}
		seen[key] = true
		if policies, whole := l.st.named(slices.Clip(inherited), u.Policies); whole {
			l.holders = append(l.holders, holder{u.Role, u.Name, policies})
		}
	}
}

// of returns those who hold p.
func (l *linter) of(p *Policy) (out []holder) {
	for _, h := range l.holders {
		if slices.Contains(h.policies, p) {
			out = append(out, h)
		}
	}
	return out
}

// sites are the statements of some policies, in the order of deciding.
func sites(policies ...*Policy) (out []site) {
	for _, p := range policies {
		for i := range p.compiled {
			out = append(out, site{p, i, &p.compiled[i]})
		}
	}
	return out
}

// spend takes n from the work that is left, and reports whether it was there.
func (l *linter) spend(n int) bool {
	l.work -= n
	return l.work > 0
}

// report adds a finding about the statement at s.
func (l *linter) report(severity Severity, code string, s site, e *trial, text, fix string) {
	l.add(Finding{Severity: severity, Code: code, Policy: s.policy.name, Statement: s.index + 1, Text: text, Fix: fix, Example: e.show()})
}

// add puts the place of a finding to it.
func (l *linter) add(f Finding) {
	if f.Example == nil {
		return // not confirmed
	}
	if len(l.found) == maxFindings {
		l.work = 0
		return
	}
	if r := l.doc.source; r != nil {
		at := place{role: f.Role}
		if f.Policy != "" {
			at = place{kind: wholePolicy, name: f.Policy, statement: f.Statement}
		}
		f.File = r.file
		f.Line, f.Column = r.position(l.doc.places[at])
	}
	l.found = append(l.found, f)
}
