package acl

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// An Operator compares an attribute with the values of a condition.
type Operator string

// The operators. The negative ones hold when the attribute differs from every
// value, never when it differs from some.
const (
	Equals    Operator = "equals"     // text: is one of the values
	NotEquals Operator = "not-equals" // text: is none of the values
	In        Operator = "in"         // address: lies in one of the prefixes
	NotIn     Operator = "not-in"     // address: lies in none of the prefixes
	Within    Operator = "within"     // time: is one of the times of day
	NotWithin Operator = "not-within" // time: is none of the times of day
	Below     Operator = "below"      // age: is less than the only value
	AtLeast   Operator = "at-least"   // age: is the only value, or more
)

// A Condition narrows a statement to requests whose attribute compares well.
// Several conditions of one statement must all hold.
//
// An attribute that a request does not have makes an allow fail and a deny
// hold, whatever the operator.
type Condition struct {
	Attribute string   `json:"attribute"` // "connection.path"
	Operator  Operator `json:"operator"`
	Values    []string `json:"values"` // at least one; text may hold variables
}

// String shows the condition in one line, for traces.
func (c Condition) String() string {
	return fmt.Sprintf("%s %s %s", c.Attribute, c.Operator, strings.Join(c.Values, " | "))
}

// A condition is a compiled Condition.
type condition struct {
	attr     attribute
	negative bool
	texts    []template     // of Equals and NotEquals
	prefixes []netip.Prefix // of In and NotIn
	windows  []window       // of Within and NotWithin
	age      time.Duration  // of Below and AtLeast
}

// operators are those of each attribute, the negative one second.
func (k attributeKind) operators() [2]Operator {
	switch k {
	case connectionSource:
		return [2]Operator{In, NotIn}
	case clockTime:
		return [2]Operator{Within, NotWithin}
	case keyAge:
		return [2]Operator{Below, AtLeast}
	default:
		return [2]Operator{Equals, NotEquals}
	}
}

// compileCondition reads a condition.
func compileCondition(c Condition, z *zones) (condition, error) {
	out, err := compileComparison(c)
	for i := 0; err == nil && i < len(c.Values); i++ {
		err = out.add(c.Values[i], z)
	}
	if err != nil {
		return condition{}, err
	}
	return out, nil
}

// compileComparison reads all of a condition but its values.
func compileComparison(c Condition) (condition, error) {
	attr, err := attributeNamed(c.Attribute)
	if err != nil {
		return condition{}, err
	}
	if err := checkOperator(c.Operator); err != nil {
		return condition{}, err
	}
	fitting := attr.kind.operators()
	if !slices.Contains(fitting[:], c.Operator) {
		return condition{}, mistake("operator %q does not fit attribute %q; %q and %q do",
			string(c.Operator), c.Attribute, string(fitting[0]), string(fitting[1]))
	}
	if n := len(c.Values); n == 0 || n > MaxList {
		return condition{}, mistake("a condition has 1 to %d values, not %d", MaxList, n)
	}
	if attr.kind == keyAge && len(c.Values) > 1 {
		return condition{}, mistake("key.age is compared with one value")
	}
	return condition{attr: attr, negative: c.Operator == fitting[1]}, nil
}

func checkOperator(o Operator) error {
	switch o {
	case Equals, NotEquals, In, NotIn, Within, NotWithin, Below, AtLeast:
		return nil
	}
	return mistake("unknown operator %q", string(o))
}

// add compiles one value.
func (c *condition) add(value string, z *zones) error {
	if err := checkText(value); err != nil {
		return err
	}
	switch c.attr.kind {
	case connectionSource:
		prefix, err := compilePrefix(value)
		c.prefixes = append(c.prefixes, prefix)
		return err
	case clockTime:
		w, err := compileWindow(value, z)
		c.windows = append(c.windows, w)
		return err
	case keyAge:
		age, err := parseAge(value)
		if err == nil && age == 0 {
			err = mistake("no key is younger than %s", value)
		}
		c.age = age
		return err
	default:
		t, err := compileTemplate(value)
		c.texts = append(c.texts, t)
		if err != nil {
			return err
		}
		return checkValue(c.attr.kind, value)
	}
}

func compilePrefix(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return prefix, mistake("%q is not an address prefix such as 192.168.1.0/24 or fd00::/8", s)
	}
	if prefix != prefix.Masked() {
		return prefix, mistake("prefix %s has bits behind its length; write %s", prefix, prefix.Masked())
	}
	return prefix, nil
}

// checkValue refuses values that the attribute can never have.
func checkValue(kind attributeKind, value string) error {
	switch kind {
	case connectionPath:
		switch PathKind(value) {
		case PathLocal, PathDirect, PathRelay:
		default:
			return mistake("connection.path is %q, %q or %q, never %q", PathLocal, PathDirect, PathRelay, value)
		}
	case serviceType:
		if value != "tcp" && value != "udp" && value != "unix" {
			return mistake(`service.type is "tcp", "udp" or "unix", never %q`, value)
		}
	default:
	}
	return nil
}

// holds reports whether r meets the condition. One that asks for an unknown
// value counts as unsure says.
func (c *condition) holds(r *Request, unsure bool) bool {
	var hit, known bool
	switch c.attr.kind {
	case connectionSource:
		hit, known = c.inPrefix(r)
	case clockTime:
		hit, known = c.inWindow(r)
	case keyAge:
		var age time.Duration
		age, known = r.age()
		hit = age < c.age
	default:
		hit, known = c.isText(r)
	}
	if !known {
		return unsure
	}
	return hit != c.negative
}

func (c *condition) inPrefix(r *Request) (hit, known bool) {
	addr, ok := r.source()
	if !ok {
		return false, false
	}
	for _, p := range c.prefixes {
		if p.Contains(addr) {
			return true, true
		}
	}
	return false, true
}

func (c *condition) inWindow(r *Request) (hit, known bool) {
	if r.Time.IsZero() {
		return false, false
	}
	known = true
	for i := range c.windows {
		in, ok := c.windows[i].contains(r.Time)
		if in {
			return true, true
		}
		known = known && ok
	}
	return false, known
}

// isText compares text. A value that is not known leaves the answer open unless
// another one hits.
func (c *condition) isText(r *Request) (hit, known bool) {
	have, ok := r.texts(c.attr)
	if !ok {
		return false, false
	}
	known = true
	for _, t := range c.texts {
		equal, ok := t.equalsAny(have, r)
		if equal {
			return true, true
		}
		known = known && ok
	}
	return false, known
}
