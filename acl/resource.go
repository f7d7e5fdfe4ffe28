package acl

import "strings"

// A resourcePattern is compiled from text like "/light/*/state". It is compared
// segment by segment, a segment being what lies between two slashes.
type resourcePattern []segment

// A segment matches one segment of a resource, or any number of them.
type segment struct {
	wildcard wildcard
	text     template // when wildcard is exactly
}

type wildcard uint8

const (
	exactly     wildcard = iota // this text
	oneSegment                  // *: one segment that is not empty
	anySegments                 // **: any segments, or none
)

// compileResource reads a pattern.
func compileResource(s string) (resourcePattern, error) {
	if err := checkText(s); err != nil {
		return nil, err
	}
	// A device id is two segments. Both halves keep the rules of DeviceID, so
	// this is the one value that may span a slash.
	texts := strings.Split(strings.ReplaceAll(s, "${device.id}", "${device.product}/${device.unit}"), "/")
	var p resourcePattern
	for i, text := range texts {
		switch {
		case text == "**":
			p = append(p, segment{wildcard: anySegments})
			continue
		case text == "*":
			p = append(p, segment{wildcard: oneSegment})
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
		p = append(p, segment{text: t})
	}
	return p, nil
}

// matches reports whether the segments of a resource fit the pattern. A segment
// that asks for an unknown value counts as unsure says.
//
// After a ** the earliest fit of what follows is tried first, and only the last
// ** is ever reconsidered, which is enough and keeps the work below
// len(p)*len(segments).
func (p resourcePattern) matches(segments []string, r *Request, unsure bool) bool {
	i, j := 0, 0
	star, next := -1, 0 // the last ** seen, and the segment up to which it reaches
	for j < len(segments) {
		switch {
		case i < len(p) && p[i].wildcard == anySegments:
			star, next = i, j
			i++
		case i < len(p) && p[i].matches(segments[j], r, unsure):
			i++
			j++
		case star >= 0:
			next++
			i, j = star+1, next
		default:
			return false
		}
	}
	for i < len(p) && p[i].wildcard == anySegments {
		i++
	}
	return i == len(p)
}

func (s segment) matches(text string, r *Request, unsure bool) bool {
	if s.wildcard == oneSegment {
		return text != ""
	}
	equal, known := s.text.equals(text, r, true)
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
