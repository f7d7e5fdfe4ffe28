package acl

import (
	"fmt"
	"slices"
	"strings"
)

// collides reports a variable that for some value stands for what another
// statement speaks of, and who has that value is allowed it by s alone.
func (l *linter) collides(h holder, s site, p *resourcePattern) {
	for i := range p.segments {
		segment := &p.segments[i]
		if segment.kind == anySegments || !l.spend(1) {
			return
		}
		attr, before, after, ok := segment.only()
		if !ok || !attr.chosen() {
			continue
		}
		for _, t := range l.sites {
			for j := range t.resources {
				q := &t.resources[j]
				if !l.spend(2) {
					return
				}
				if t.statement == s.statement || s.set&t.set == 0 || i >= len(q.segments) {
					continue
				}
				text, ok := q.segments[i].sample()
				value, fits := strings.CutPrefix(text, before)
				value, ends := strings.CutSuffix(value, after)
				if !ok || !fits || !ends || value == "a" || !possible(map[attribute]string{attr: value}) {
					continue
				}
				if l.reaches(h, s, t, p, q, attr, value) {
					return
				}
			}
		}
	}
}

// reaches reports a collision if no other statement allows the same.
func (l *linter) reaches(h holder, s, t site, p, q *resourcePattern, attr attribute, value string) bool {
	plain := *q
	plain.segments = slices.Clone(q.segments)
	for i := range plain.segments {
		if text, ok := plain.segments[i].sample(); ok {
			plain.segments[i] = segment{kind: exactly, text: text}
		}
	}
	e := l.ask(h, s, s.set&t.set, p, &plain, map[attribute]string{attr: value})
	if e == nil || !e.by(s) || e.others(s, Allow) {
		return false
	}
	l.report(SeverityWarning, "variable-collides", s, e,
		fmt.Sprintf("with %s %q this is %s, of which policy %q, statement %d, speaks", attr, value, e.request.Resource, t.policy.name, t.index+1),
		"keep what has the name of its owner apart from the rest, in a path segment of its own below one for all of them")
	return true
}

// only returns the variable of a segment that has just one, and the text around
// it.
func (s *segment) only() (attr attribute, before, after string, ok bool) {
	for _, p := range s.with {
		switch {
		case p.attr.kind != literal && ok:
			return attribute{}, "", "", false
		case p.attr.kind != literal:
			attr, ok = p.attr, true
		case ok:
			after = p.text
		default:
			before = p.text
		}
	}
	return attr, before, after, ok
}

// sample is a text that the segment can be: its own, or with "a" for its
// variable.
func (s *segment) sample() (string, bool) {
	if s.kind == exactly {
		return s.text, s.text != ""
	}
	_, before, after, ok := s.only()
	return before + "a" + after, ok
}
