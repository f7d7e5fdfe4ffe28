package acl

import "fmt"

// A Decision is a verdict and what led to it.
type Decision struct {
	Effect    Effect  `json:"effect"`              // only Allow lets the request pass
	Policy    string  `json:"policy,omitempty"`    // whose statement decided; empty for NoMatch
	Statement int     `json:"statement,omitempty"` // which one, counted from 1
	Mode      Mode    `json:"mode,omitzero"`       // of that statement, if it denies
	Reason    string  `json:"reason"`              // in words
	Subject   Subject `json:"subject"`             // who was judged, when a Store judged
	Trace     []Step  `json:"trace"`               // every statement that was asked, in order
}

// A Step is what one statement had to say.
type Step struct {
	Policy    string `json:"policy"`
	Statement int    `json:"statement"`     // counted from 1
	Effect    Effect `json:"effect"`        // what it says when it matches
	Mode      Mode   `json:"mode,omitzero"` // and how it denies
	Matched   bool   `json:"matched"`
	// Reason says why it did not match. A fact that the request lacks is named,
	// also where a deny matches only because of that.
	Reason string `json:"reason"`
}

// Evaluate decides r by policies: a statement that denies beats those that
// allow, and silence refuses. It is a pure function of its arguments.
func Evaluate(r *Request, policies ...*Policy) Decision {
	var trace []Step
	return decide(r, policies, &trace).decision(trace)
}

// A verdict is a Decision in the form that costs nothing.
type verdict struct {
	effect  Effect
	policy  *Policy // nil for NoMatch
	index   int     // of the statement that decided
	unclean bool    // no policy may allow this request
}

func (v verdict) decision(trace []Step) Decision {
	d := Decision{Effect: v.effect, Reason: v.reason(), Trace: trace}
	if v.policy != nil {
		d.Policy, d.Statement = v.policy.name, v.index+1
		d.Mode = v.mode()
	}
	return d
}

// mode is how to refuse, by the statement that decided.
func (v verdict) mode() Mode {
	if v.policy == nil {
		return Respond
	}
	return v.policy.compiled[v.index].mode
}

func (v verdict) reason() string {
	switch {
	case v.unclean:
		return "the request has no action, or a resource that is too long or not clean"
	case v.effect == Allow:
		return fmt.Sprintf("allowed by policy %q, statement %d", v.policy.name, v.index+1)
	case v.effect == Deny:
		return fmt.Sprintf("denied by policy %q, statement %d", v.policy.name, v.index+1)
	}
	return "no statement allows it"
}

// decide finds the first statement that denies, or else the first that allows.
// With a trace it asks every statement, without one it stops at a deny.
func decide(r *Request, policies []*Policy, trace *[]Step) verdict {
	var buf [16]string
	q := question{Request: r, bit: bits[r.Action]}
	clean := false
	if q.segments, clean = splitResource(buf[:0], r.Resource); !clean || r.Action == "" {
		return verdict{unclean: true}
	}
	var v verdict
	for _, p := range policies {
		for i := range p.compiled {
			s := &p.compiled[i]
			out := s.ask(&q, s.effect == Deny)
			if trace != nil {
				*trace = append(*trace, p.step(i, &q, out))
			}
			if out == hit && s.effect > v.effect {
				v = verdict{effect: s.effect, policy: p, index: i}
			}
			if v.effect == Deny && trace == nil {
				return v
			}
		}
	}
	return v
}

// A question is a request, taken apart for matching.
type question struct {
	*Request
	bit      actionSet // of its action; none if that is not known
	segments []string  // of its resource
}

// An outcome is how far a statement got with a request: a hit, or what did not
// match. missCondition+n stands for the condition with index n.
type outcome int

const (
	hit outcome = iota
	missAction
	missResource
	missCondition
)

// ask matches a statement with a request. Where the request lacks a fact that
// the statement asks for, that part matches if unsure is set: a deny is asked so,
// an allow is not.
func (s *statement) ask(q *question, unsure bool) outcome {
	if !s.matchesAction(q) {
		return missAction
	}
	if !s.matchesResource(q, unsure) {
		return missResource
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(q.Request, unsure) {
			return missCondition + outcome(i)
		}
	}
	return hit
}

func (s *statement) matchesAction(q *question) bool {
	if q.bit != 0 {
		return s.set&q.bit != 0
	}
	for _, p := range s.actions {
		if p.matches(q.Action) {
			return true
		}
	}
	return false
}

func (s *statement) matchesResource(q *question, unsure bool) bool {
	for i := range s.resources {
		p := &s.resources[i]
		if p.mayMatch(q.segments) && p.matches(q.segments, q.Request, unsure) {
			return true
		}
	}
	return false
}
