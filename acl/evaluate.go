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
	Statement int    `json:"statement"` // counted from 1
	Effect    Effect `json:"effect"`    // what it says when it matches
	Matched   bool   `json:"matched"`
	Reason    string `json:"reason"` // why it did not match
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
	segments, clean := splitResource(buf[:0], r.Resource)
	if !clean || r.Action == "" {
		return verdict{unclean: true}
	}
	var v verdict
	for _, p := range policies {
		for i := range p.compiled {
			s := &p.compiled[i]
			out := s.ask(r, segments)
			if trace != nil {
				*trace = append(*trace, p.step(i, out))
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
// the statement asks for, an allow takes it as "does not match" and a deny as
// "matches".
func (s *statement) ask(r *Request, segments []string) outcome {
	unsure := s.effect == Deny
	if !s.matchesAction(r.Action) {
		return missAction
	}
	if !s.matchesResource(segments, r, unsure) {
		return missResource
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(r, unsure) {
			return missCondition + outcome(i)
		}
	}
	return hit
}

func (s *statement) matchesAction(a Action) bool {
	for _, p := range s.actions {
		if p.matches(a) {
			return true
		}
	}
	return false
}

func (s *statement) matchesResource(segments []string, r *Request, unsure bool) bool {
	for _, p := range s.resources {
		if p.mayMatch(segments) && p.matches(segments, r, unsure) {
			return true
		}
	}
	return false
}

// step puts an outcome into words.
func (p *Policy) step(i int, out outcome) Step {
	step := Step{Policy: p.name, Statement: i + 1, Effect: p.compiled[i].effect}
	switch out {
	case hit:
		step.Matched = true
		step.Reason = "matches"
	case missAction:
		step.Reason = "is about other actions"
	case missResource:
		step.Reason = "is about other resources"
	default:
		step.Reason = fmt.Sprintf("condition does not hold: %s", p.source[i].Conditions[out-missCondition])
	}
	return step
}
