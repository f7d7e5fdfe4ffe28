package acl

import (
	"fmt"
	"strings"
)

// step puts an outcome into words.
func (p *Policy) step(i int, q *question, out outcome) Step {
	s := &p.compiled[i]
	step := Step{Policy: p.name, Statement: i + 1, Effect: s.effect, Mode: s.mode, Matched: out == hit}
	var why string // the fact that is not known, if that made the difference
	switch out {
	case hit:
		step.Reason = "matches"
		if why = s.gap(q); why != "" {
			why = "because " + why
		}
	case missAction:
		step.Reason = "is about other actions"
	case missResource:
		step.Reason = "is about other resources"
		why = s.resourceGap(q)
	default:
		n := out - missCondition
		step.Reason = fmt.Sprintf("condition does not hold: %s", p.source[i].Conditions[n])
		why = s.conditions[n].gap(q.Request)
	}
	if why != "" {
		step.Reason += ", " + why
	}
	return step
}

// gap says which unknown fact a deny that matches takes for a match, "" if none.
func (s *statement) gap(q *question) string {
	out := s.ask(q, false)
	switch out {
	case hit, missAction:
		return ""
	case missResource:
		return s.resourceGap(q)
	default:
		return s.conditions[out-missCondition].gap(q.Request)
	}
}

// resourceGap says which unknown fact leaves open whether a resource matches, ""
// if that is not open.
func (s *statement) resourceGap(q *question) string {
	if s.matchesResource(q, false) {
		return ""
	}
	for i := range s.resources {
		p := &s.resources[i]
		if !p.matches(q.segments, q.Request, true) {
			continue
		}
		for _, segment := range p.segments {
			if why := segment.with.gap(q.Request, true); why != "" {
				return why
			}
		}
	}
	return ""
}

// gap says which unknown fact leaves open whether the condition holds, "" if
// that is not open.
func (c *condition) gap(r *Request) string {
	if c.holds(r, true) == c.holds(r, false) {
		return ""
	}
	if why := r.gap(c.attr, false); why != "" {
		return why
	}
	for _, t := range c.texts {
		if why := t.gap(r, false); why != "" {
			return why
		}
	}
	for _, w := range c.windows {
		if w.zone == nil {
			return fmt.Sprintf("this machine does not know the time zone %q", w.name)
		}
	}
	return ""
}

// gap says which variable of the template has no value.
func (t template) gap(r *Request, inSegment bool) string {
	for _, p := range t {
		if p.attr.kind == literal {
			continue
		}
		if why := r.gap(p.attr, true); why != "" {
			return why
		}
		if value, _ := r.text(p.attr); inSegment && strings.Contains(value, "/") {
			return fmt.Sprintf("%s has a slash in it", p.attr)
		}
	}
	return ""
}

// gap says why an attribute is not known, "" if it is. single asks for one text.
func (r *Request) gap(a attribute, single bool) string {
	var known bool
	switch a.kind {
	case connectionSource:
		_, known = r.source()
	case clockTime, keyAge:
		return r.timeGap(a)
	case tokenClaim:
		return r.claimGap(a, single)
	default:
		_, known = r.text(a)
	}
	if known {
		return ""
	}
	return fmt.Sprintf("%s is not known", a)
}

func (r *Request) timeGap(a attribute) string {
	switch {
	case r.Time.IsZero():
		return "the clock is not known"
	case a.kind == clockTime:
		return ""
	case r.KeyAdded.IsZero():
		return "it is not known when the key was added"
	case r.KeyAdded.After(r.Time):
		return "the key was added later than the clock says it is now"
	}
	return ""
}

func (r *Request) claimGap(a attribute, single bool) string {
	_, there := r.Claims[a.claim]
	_, isTexts := r.texts(a)
	_, isText := r.text(a)
	switch {
	case !there:
		return fmt.Sprintf("there is no claim %q", a.claim)
	case single && !isText:
		return fmt.Sprintf("claim %q is not a single text", a.claim)
	case !single && !isTexts:
		return fmt.Sprintf("claim %q is no text and no list of texts", a.claim)
	}
	return ""
}
