package acl

import (
	"cmp"
	"slices"
)

// A Severity says how much a Finding matters.
type Severity string

// The severities, worst first.
const (
	SeverityError   Severity = "error"   // opens a door, or a deny does not deny
	SeverityWarning Severity = "warning" // most likely not what was meant
	SeverityNote    Severity = "note"    // good to know
)

// A Finding is something in a document that is valid and still most likely wrong.
type Finding struct {
	Severity  Severity `json:"severity"`
	Code      string   `json:"code"` // what was found, for programs: "allows-everything"
	File      string   `json:"file,omitempty"`
	Line      int      `json:"line,omitempty"`      // from 1; 0 for a document without a text
	Column    int      `json:"column,omitempty"`    // from 1
	Policy    string   `json:"policy,omitempty"`    // empty if it is about a role
	Statement int      `json:"statement,omitempty"` // counted from 1; 0 if it is about all of them
	Role      string   `json:"role,omitempty"`      // that is concerned, or through which it matters
	Text      string   `json:"text"`                // in words
	Fix       string   `json:"fix"`                 // what to do
	Example   *Example `json:"example,omitempty"`   // none where no request is concerned
}

// An Example shows a Finding: a request and what becomes of it by the rules as
// they stand. As a test in the document it passes, and fails once that is mended.
type Example struct {
	Test     Case     `json:"test"`
	Decision Decision `json:"decision"`
}

// Surroundings are what a document is held against.
type Surroundings struct {
	Rules             // what the document is added to; without Users names of users are not checked
	Services []string // ids of the services that the device has; nil: not known
	Issuers  []string // whose tokens the device takes; nil: not known
}

// Lint looks for what is valid in a document and still most likely wrong: too
// much allowed, statements that never decide, names that there are not, values
// that whoever asks can choose. It judges all who would hold the document's
// policies if it were put where around describes.
//
// A Finding that is about requests has one as its Example, and is made only after
// Evaluate confirmed it. Lint has no clock and depends on nothing but its
// arguments.
//
// Each statement is compared with those that are judged together with it, pattern
// by pattern. That is quadratic in the number of patterns, and bounded: after some
// millions of comparisons, well below a second, what is left is not compared, and
// a note says so. Findings come in the order of the document, worst first for
// each statement.
func Lint(d *Document, around Surroundings) []Finding {
	l := newLinter(d, around)
	cut := false
	for _, check := range l.checks() {
		l.work = maxLintWork
		check()
		cut = cut || l.work <= 0
	}
	if cut {
		l.found = append(l.found, Finding{
			Severity: SeverityNote, Code: "too-large",
			Text: "the document is so large that not all of it was compared", Fix: "look at parts of it alone",
		})
	}
	slices.SortStableFunc(l.found, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(l.order(a), l.order(b)),
			cmp.Compare(a.Statement, b.Statement),
			cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity)),
		)
	})
	return l.found
}

var severities = []Severity{SeverityError, SeverityWarning, SeverityNote}

// order is the place of a finding's policy or role: policies come first.
func (l *linter) order(f Finding) int {
	switch {
	case f.Policy == "" && f.Role == "":
		return len(l.doc.Policies) + len(l.doc.Roles)
	case f.Policy == "":
		return len(l.doc.Policies) + slices.IndexFunc(l.doc.Roles, func(r Role) bool { return r.Name == f.Role })
	}
	return slices.IndexFunc(l.doc.Policies, func(p *Policy) bool { return p.name == f.Policy })
}

// checks are all that Lint looks for.
func (l *linter) checks() []func() {
	return []func(){l.everything, l.strangers, l.promotes, l.never, l.unreachable, l.missing, l.names, l.variables, l.roles, l.idleDenies}
}
