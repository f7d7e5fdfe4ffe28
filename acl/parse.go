package acl

import (
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// ParsePolicy reads a policy from JSON:
//
//	{"name": "evenings", "statements": [{
//	  "effect": "allow",
//	  "actions": ["coap:get", "coap:put"],
//	  "resources": ["/light/**"],
//	  "conditions": [{"attribute": "connection.path", "operator": "equals", "values": ["local"]}]
//	}]}
//
// It is strict. A field that it does not know, a field that stands there twice,
// a missing field, wrong case, one value where a list belongs, an unknown
// effect, action, operator, attribute or variable, and anything behind the end
// are errors of type *PositionError. Text longer than MaxPolicySize is
// latchkey.ErrTooLarge. file is only for messages.
func ParsePolicy(file string, text []byte) (*Policy, error) {
	return parsePolicy(file, text, new(zones))
}

// parseStored reads a policy that ParsePolicy or NewPolicy accepted before, maybe
// on another machine: a time zone that this one does not know is no error. What
// lies in such a zone is an unknown fact, so allows fail and denies hold.
func parseStored(file string, text []byte) (*Policy, error) {
	return parsePolicy(file, text, &zones{lenient: true})
}

func parsePolicy(file string, text []byte, z *zones) (*Policy, error) {
	if len(text) > MaxPolicySize {
		return nil, fmt.Errorf("%s: a policy of %d bytes, %d are the most: %w",
			file, len(text), MaxPolicySize, latchkey.ErrTooLarge)
	}
	r := newReader(file, text)
	r.zones = z
	p, err := r.policy()
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// policyFields are the fields of a policy.
type policyFields struct {
	name       string
	statements []Statement
}

// policy compiles them.
func (f *policyFields) policy(z *zones) (*Policy, error) {
	return newPolicy(f.name, f.statements, z)
}

// policy reads a policy.
func (r *reader) policy() (*Policy, error) {
	var f policyFields
	err := r.object(map[string]func() error{
		"name":       func() error { return r.policyName(&f) },
		"statements": func() error { return r.policyStatements(&f) },
	})
	if err != nil {
		return nil, err
	}
	return f.policy(r.zones)
}

func (r *reader) policyName(f *policyFields) (err error) {
	f.name, err = r.text(func(s string) error { return checkName("policy", s) })
	return err
}

func (r *reader) policyStatements(f *policyFields) error {
	r.statements = nil
	return r.array(MaxStatements, func() error {
		r.statements = append(r.statements, r.start())
		s, err := r.statement()
		f.statements = append(f.statements, s)
		return err
	})
}

func (r *reader) statement() (s Statement, err error) {
	modeAt := 0
	err = r.object(map[string]func() error{
		"effect": func() error {
			_, err := r.text(func(text string) (err error) {
				s.Effect, err = parseEffect(text)
				return err
			})
			return err
		},
		"actions": func() (err error) {
			s.Actions, _, err = r.texts("actions", func(text string) error {
				_, err := compileAction(text)
				return err
			})
			return err
		},
		"resources": func() (err error) {
			s.Resources, _, err = r.texts("resources", func(text string) error {
				_, err := compileResource(text)
				return err
			})
			return err
		},
		"conditions?": func() error {
			return r.array(MaxConditions, func() error {
				c, err := r.condition()
				s.Conditions = append(s.Conditions, c)
				return err
			})
		},
		"mode?": func() error {
			modeAt = r.start()
			_, err := r.text(func(text string) (err error) {
				s.Mode, err = parseMode(text)
				return err
			})
			return err
		},
	})
	if err != nil {
		return s, err
	}
	if err := checkMode(s); err != nil {
		return s, r.at(modeAt, err)
	}
	return s, nil
}

func (r *reader) condition() (c Condition, err error) {
	start := r.start()
	var places []int // of the values
	err = r.object(map[string]func() error{
		"attribute": func() (err error) {
			c.Attribute, err = r.text(func(text string) error {
				_, err := attributeNamed(text)
				return err
			})
			return err
		},
		"operator": func() error {
			text, err := r.text(func(text string) error { return checkOperator(Operator(text)) })
			c.Operator = Operator(text)
			return err
		},
		"values": func() (err error) {
			c.Values, places, err = r.texts("values", checkText)
			return err
		},
	})
	if err != nil {
		return c, err
	}
	compiled, err := compileComparison(c)
	if err != nil {
		return c, r.at(start, err)
	}
	for i, v := range c.Values {
		if err := compiled.add(v, r.zones); err != nil {
			return c, r.at(places[i], err)
		}
	}
	return c, nil
}
