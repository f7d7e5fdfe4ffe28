package acl

import (
	"maps"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// satisfy gives r the facts that the conditions and variables of s ask for.
func (l *linter) satisfy(r *Request, s *statement) bool {
	for _, name := range s.claims() {
		if r.Claims == nil {
			r.Claims = make(map[string]any)
		}
		r.Claims[name] = something
	}
	for _, group := range s.byAttribute() {
		if !l.satisfyAll(r, group) {
			return false
		}
	}
	return holdAll(pointers(s.conditions), r)
}

func pointers(conditions []condition) (out []*condition) {
	for i := range conditions {
		out = append(out, &conditions[i])
	}
	return out
}

// satisfyAll gives r a value of one attribute that meets all conditions on it.
func (l *linter) satisfyAll(r *Request, conditions []*condition) bool {
	attr := conditions[0].attr
	var try []func()
	switch attr.kind {
	case connectionSource:
		for _, a := range edges(conditions) {
			try = append(try, func() { r.Source = a })
		}
	case clockTime:
		was := *r
		for _, t := range moments(conditions) {
			try = append(try, func() {
				if r.Time = t; !was.KeyAdded.IsZero() {
					r.KeyAdded = t.Add(was.KeyAdded.Sub(was.Time))
				}
			})
		}
	case keyAge:
		for _, c := range conditions {
			for _, age := range []time.Duration{c.age, 0} {
				try = append(try, func() { r.KeyAdded = r.Time.Add(-age) })
			}
		}
	default:
		for _, text := range texting(conditions, r) {
			try = append(try, func() { r.setText(attr, text) })
		}
	}
	if holdAll(conditions, r) {
		return true
	}
	for _, set := range try {
		if !l.spend(len(conditions)) {
			return false
		}
		set()
		if holdAll(conditions, r) {
			return true
		}
	}
	return false
}

// texting are texts to try for an attribute: those that conditions name, all of
// them at once if it is a claim, and some that they do not.
func texting(conditions []*condition, r *Request) (out []any) {
	attr := conditions[0].attr
	var all []any
	for _, c := range conditions {
		for i, t := range c.texts {
			text, ok := t.expand(r)
			if !ok || c.negative {
				continue
			}
			out = append(out, text)
			if i == 0 {
				all = append(all, text)
			}
		}
	}
	if domain := domains[attr.kind]; domain != nil {
		for _, value := range domain {
			out = append(out, value)
		}
		return out
	}
	if len(all) > 0 && attr.kind == tokenClaim {
		out = append(out, all)
	}
	return append(out, something, "someone", "device2")
}

// expand returns the text that t stands for, false if a variable has no value.
func (t template) expand(r *Request) (string, bool) {
	var b strings.Builder
	for _, p := range t {
		text := p.text
		if p.attr.kind != literal {
			var ok bool
			if text, ok = r.text(p.attr); !ok {
				return "", false
			}
		}
		b.WriteString(text)
	}
	return b.String(), true
}

// setText gives r the value of a textual attribute. What the attribute cannot be
// is left alone.
func (r *Request) setText(a attribute, value any) {
	text, _ := value.(string)
	switch a.kind {
	case connectionUser:
		r.User = text
	case connectionRole:
		r.Role = text
	case connectionPath:
		r.Path = PathKind(text)
	case keyFingerprint:
		r.Peer, _ = latchkey.ParseFingerprint(text)
	case keyOrigin:
		r.KeyOrigin = text
	case deviceID:
		if id, err := latchkey.ParseDeviceID(text); err == nil {
			r.Device = id
		}
	case deviceProduct:
		r.setText(attribute{kind: deviceID}, text+"/"+r.Device.Device)
	case deviceUnit:
		r.setText(attribute{kind: deviceID}, r.Device.Product+"/"+text)
	case serviceType:
		r.ServiceType = text
	case tokenClaim:
		if r.Claims = maps.Clone(r.Claims); r.Claims == nil {
			r.Claims = make(map[string]any)
		}
		r.Claims[a.claim] = value
	default:
	}
}
