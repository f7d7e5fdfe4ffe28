package acl

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// A template is text with variables in it: "u-${connection.user}".
type template []part

// A part is plain text, or the place of a variable.
type part struct {
	text string
	attr attribute // of kind literal: text stands for itself
}

// compileTemplate splits s at its variables.
func compileTemplate(s string) (template, error) {
	var t template
	for rest := s; rest != ""; {
		text, after, found := strings.Cut(rest, "${")
		if text != "" {
			t = append(t, part{text: text})
		}
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return nil, mistake("%q: a ${ without its }", s)
		}
		a, err := attributeNamed(name)
		if err != nil {
			return nil, err
		}
		if !a.kind.isText() {
			return nil, mistake("%q: %s is not text and cannot be a variable", s, a)
		}
		t = append(t, part{attr: a})
		rest = tail
	}
	return t, nil
}

// equals compares s with the template, each variable replaced by its value in
// r. A value is compared byte by byte and never means anything else. known is
// false when a variable has no value, or in a path segment one with a slash,
// which could reach into the next segment.
func (t template) equals(s string, r *Request, inSegment bool) (equal, known bool) {
	if len(t) == 1 && t[0].attr.kind == literal {
		return s == t[0].text, true
	}
	equal = true
	for i := range t {
		p := &t[i]
		text := p.text
		if p.attr.kind != literal {
			value, ok := r.text(p.attr)
			if !ok || inSegment && strings.Contains(value, "/") {
				return false, false
			}
			text = value
		}
		if rest, ok := strings.CutPrefix(s, text); ok {
			s = rest
		} else {
			equal = false
		}
	}
	return equal && s == "", true
}

// equalsAny compares each of some texts with the template.
func (t template) equalsAny(have texts, r *Request) (equal, known bool) {
	if !have.list {
		return t.equals(have.one, r, false)
	}
	// The empty text equals no template, but tells whether it is known.
	_, known = t.equals("", r, false)
	for _, v := range have.many {
		s, _ := v.(string)
		if equal, _ := t.equals(s, r, false); equal {
			return true, known
		}
	}
	return false, known
}

// checkText refuses what no pattern or value needs and what would be read
// otherwise than it is written.
func checkText(s string) error {
	switch {
	case s == "":
		return mistake("an empty text matches nothing")
	case len(s) > MaxText:
		return mistake("a text of %d bytes; %d is the most", len(s), MaxText)
	case !utf8.ValidString(s) || strings.ContainsRune(s, utf8.RuneError):
		return mistake("%q is not valid UTF-8", s)
	case strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }):
		return mistake("%q contains a character that cannot be seen", s)
	}
	return nil
}
