package acl

import (
	"iter"
	"maps"
	"slices"
)

// claims are the names of the claims that the statement asks for.
func (s *statement) claims() []string {
	seen := make(map[string]bool)
	for a := range s.attributes() {
		if a.kind == tokenClaim {
			seen[a.claim] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// attributes yields what the statement asks for, in conditions and as variables.
func (s *statement) attributes() iter.Seq[attribute] {
	return func(yield func(attribute) bool) {
		for i := range s.conditions {
			if !yield(s.conditions[i].attr) {
				return
			}
			for _, t := range s.conditions[i].texts {
				for a := range t.variables() {
					if !yield(a) {
						return
					}
				}
			}
		}
		for i := range s.resources {
			for _, segment := range s.resources[i].segments {
				for a := range segment.with.variables() {
					if !yield(a) {
						return
					}
				}
			}
		}
	}
}

// variables yields the variables of t.
func (t template) variables() iter.Seq[attribute] {
	return func(yield func(attribute) bool) {
		for _, p := range t {
			if p.attr.kind != literal && !yield(p.attr) {
				return
			}
		}
	}
}
