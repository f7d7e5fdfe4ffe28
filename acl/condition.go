package acl

import (
	"fmt"
	"net/netip"
	"strings"
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
}

// compileCondition reads a condition.
func compileCondition(c Condition) (condition, error) {
	attr, err := attributeNamed(c.Attribute)
	if err != nil {
		return condition{}, err
	}
	if err := checkOperator(c.Operator); err != nil {
		return condition{}, err
	}
	if address := c.Operator == In || c.Operator == NotIn; address != (attr == connectionSource) {
		return condition{}, mistake("operator %q does not fit attribute %q", string(c.Operator), c.Attribute)
	}
	if n := len(c.Values); n == 0 || n > MaxList {
		return condition{}, mistake("a condition has 1 to %d values, not %d", MaxList, n)
	}
	out := condition{attr: attr, negative: c.Operator == NotEquals || c.Operator == NotIn}
	for _, v := range c.Values {
		if err := out.add(v); err != nil {
			return condition{}, err
		}
	}
	return out, nil
}

func checkOperator(o Operator) error {
	switch o {
	case Equals, NotEquals, In, NotIn:
		return nil
	}
	return mistake("unknown operator %q", string(o))
}

// add compiles one value.
func (c *condition) add(value string) error {
	if err := checkText(value); err != nil {
		return err
	}
	if c.attr != connectionSource {
		t, err := compileTemplate(value)
		if err != nil {
			return err
		}
		if err := checkValue(c.attr, value); err != nil {
			return err
		}
		c.texts = append(c.texts, t)
		return nil
	}
	prefix, err := netip.ParsePrefix(value)
	if err != nil {
		return mistake("%q is not an address prefix such as 192.168.1.0/24 or fd00::/8", value)
	}
	if prefix != prefix.Masked() {
		return mistake("prefix %s has bits behind its length; write %s", prefix, prefix.Masked())
	}
	c.prefixes = append(c.prefixes, prefix)
	return nil
}

// checkValue refuses values that the attribute can never have.
func checkValue(attr attribute, value string) error {
	switch attr {
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
	if c.attr == connectionSource {
		addr, ok := r.source()
		if !ok {
			return unsure
		}
		for _, p := range c.prefixes {
			if p.Contains(addr) {
				return !c.negative
			}
		}
		return c.negative
	}
	value, ok := r.text(c.attr)
	if !ok {
		return unsure
	}
	unknown := false
	for _, t := range c.texts {
		equal, known := t.equals(value, r, false)
		if equal {
			return !c.negative
		}
		unknown = unknown || !known
	}
	if unknown {
		return unsure
	}
	return c.negative
}
