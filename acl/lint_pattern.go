package acl

import "slices"

// covers reports whether p matches every resource that q matches, whoever asks.
// Without unsure, q is asked only about what is known. It may miss some, but what
// it says is so.
//
// It walks like matches, with the segments of q for those of a resource: a ** of q
// is passed only by a ** of p.
func (p *resourcePattern) covers(q *resourcePattern, unsure bool) bool {
	i, j := 0, 0
	star, next := -1, 0
	for j < len(q.segments) {
		switch {
		case i < len(p.segments) && p.segments[i].kind == anySegments:
			star, next = i, j
			i++
		case i < len(p.segments) && p.segments[i].covers(&q.segments[j], unsure):
			i++
			j++
		case star >= 0:
			next++
			i, j = star+1, next
		default:
			return false
		}
	}
	for i < len(p.segments) && p.segments[i].kind == anySegments {
		i++
	}
	return i == len(p.segments)
}

// covers compares two segments, of which s is no **. A variable that is not known
// stands for any text if unsure is set, also for none.
func (s *segment) covers(t *segment, unsure bool) bool {
	switch {
	case t.kind == anySegments:
		return false
	case s.kind == oneSegment:
		return t.kind == oneSegment || t.kind == exactly && t.text != "" || t.kind == variable && !unsure
	}
	return s.kind == t.kind && s.text == t.text
}

// meet returns a pattern for resources that both p and q may match, false if
// there is none. Which text a variable can stand for is left open.
func (p *resourcePattern) meet(q *resourcePattern) (*resourcePattern, bool) {
	m := meeting{p.segments, q.segments, make(map[[2]int]bool)}
	out, ok := m.from(0, 0)
	if !ok {
		return nil, false
	}
	slices.Reverse(out)
	return &resourcePattern{segments: out, first: -1}, true
}

// A meeting is a search for what two patterns have in common.
type meeting struct {
	a, b []segment
	no   map[[2]int]bool // from where nothing was found
}

// from returns what a from i on and b from j on have in common, backwards.
func (m *meeting) from(i, j int) ([]segment, bool) {
	if i == len(m.a) && j == len(m.b) {
		return nil, true
	}
	if m.no[[2]int{i, j}] {
		return nil, false
	}
	aStar := i < len(m.a) && m.a[i].kind == anySegments
	bStar := j < len(m.b) && m.b[j].kind == anySegments
	if aStar && bStar {
		if out, ok := m.from(i+1, j+1); ok {
			return append(out, segment{kind: anySegments}), true
		}
	}
	// A ** that stands for nothing.
	if aStar {
		if out, ok := m.from(i+1, j); ok {
			return out, true
		}
	}
	if bStar {
		if out, ok := m.from(i, j+1); ok {
			return out, true
		}
	}
	if i < len(m.a) && j < len(m.b) && !(aStar && bStar) {
		if s, ok := m.a[i].meet(&m.b[j]); ok {
			x, y := i+1, j+1
			if aStar {
				x = i
			}
			if bStar {
				y = j
			}
			if out, ok := m.from(x, y); ok {
				return append(out, s), true
			}
		}
	}
	m.no[[2]int{i, j}] = true
	return nil, false
}

// meet returns the narrower of two segments if they may have a text in common;
// not both are **.
func (s *segment) meet(t *segment) (segment, bool) {
	if s.kind > t.kind {
		s, t = t, s
	}
	switch {
	case s.kind == exactly && t.kind == exactly:
		return *s, s.text == t.text
	case s.kind == exactly && t.kind == oneSegment:
		return *s, s.text != ""
	}
	return *s, true
}
