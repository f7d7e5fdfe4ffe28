package acl

import (
	"slices"
	"strings"
)

// A resourcePattern is compiled from text like "/light/*/state". It is compared
// segment by segment, a segment being what lies between two slashes.
type resourcePattern struct {
	segments []segment
	// Most patterns are told apart by their first plain text: resources need
	// firstText as the segment with index first, unless first is -1.
	first     int
	firstText string
}

// A segment matches one segment of a resource, or any number of them.
type segment struct {
	kind segmentKind
	text string   // when kind is exactly
	with template // when kind is variable
}

type segmentKind uint8

const (
	exactly     segmentKind = iota // this text
	variable                       // text with variables in it
	oneSegment                     // *: one segment that is not empty
	anySegments                    // **: any segments, or none
)

// compileResource reads a pattern.
func compileResource(s string) (*resourcePattern, error) {
	if err := checkText(s); err != nil {
		return nil, err
	}
	// A device id is two segments. Both halves keep the rules of DeviceID, so
	// this is the one value that may span a slash.
	texts := strings.Split(strings.ReplaceAll(s, "${device.id}", "${device.product}/${device.unit}"), "/")
	p := &resourcePattern{first: -1}
	for i, text := range texts {
		switch {
		case text == "**":
			p.add(segment{kind: anySegments})
			continue
		case text == "*":
			p.add(segment{kind: oneSegment})
			continue
		case strings.Contains(text, "*"):
			return nil, mistake("resource pattern %q: * and ** stand for whole segments", s)
		case text == "." || text == "..":
			return nil, mistake("resource pattern %q: a resource never has the segment %q", s, text)
		case text == "" && i > 0 && i < len(texts)-1 && !strings.HasSuffix(texts[i-1], ":"):
			return nil, mistake("resource pattern %q: an empty segment", s)
		}
		t, err := compileTemplate(text)
		if err != nil {
			return nil, err
		}
		kind := variable
		if len(t) == 0 || len(t) == 1 && t[0].attr.kind == literal {
			kind = exactly
		}
		p.add(segment{kind: kind, text: text, with: t})
	}
	return p, nil
}

func (p *resourcePattern) add(s segment) {
	moves := slices.ContainsFunc(p.segments, func(s segment) bool { return s.kind == anySegments })
	if s.kind == exactly && s.text != "" && !moves && p.first < 0 {
		p.first, p.firstText = len(p.segments), s.text
	}
	p.segments = append(p.segments, s)
}

// mayMatch is a quick look that rules out most patterns.
func (p *resourcePattern) mayMatch(segments []string) bool {
	return p.first < 0 || p.first < len(segments) && segments[p.first] == p.firstText
}

// matches reports whether the segments of a resource fit the pattern. A segment
// that asks for an unknown value counts as unsure says.
//
// After a ** the earliest fit of what follows is tried first, and only the last
// ** is ever reconsidered, which is enough and keeps the work below
// len(p.segments)*len(segments).
func (p *resourcePattern) matches(segments []string, r *Request, unsure bool) bool {
	i, j := 0, 0
	star, next := -1, 0 // the last ** seen, and the segment up to which it reaches
	for j < len(segments) {
		switch {
		case i < len(p.segments) && p.segments[i].kind == anySegments:
			if i == len(p.segments)-1 {
				return true
			}
			star, next = i, j
			i++
		case i < len(p.segments) && p.segments[i].matches(segments[j], r, unsure):
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

func (s *segment) matches(text string, r *Request, unsure bool) bool {
	switch s.kind {
	case exactly:
		return text == s.text
	case oneSegment:
		return text != ""
	case anySegments:
		return true
	}
	equal, known := s.with.equals(text, r, true)
	if !known {
		return unsure
	}
	return equal
}

// splitResource appends the segments of a resource to buf. It returns false for
// a resource that no policy may allow: too long, or with a segment that another
// reader could take for a step to somewhere else.
func splitResource(buf []string, resource string) ([]string, bool) {
	if len(resource) > MaxResource {
		return nil, false
	}
	for more := true; more; {
		var text string
		text, resource, more = strings.Cut(resource, "/")
		if text == "." || text == ".." || len(buf) == maxSegments {
			return nil, false
		}
		buf = append(buf, text)
	}
	return buf, true
}
