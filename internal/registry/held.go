package registry

import (
	"maps"
	"slices"

	"github.com/latchkey-dev/latchkey"
)

// A grant is one thing that opens something, and can be taken away: a key that
// may attach, a device's token, an operator's token.
type grant struct {
	key      latchkey.Fingerprint // a device's key
	token    use                  // a device's token
	operator string               // an operator's token
}

// held are grants that are in the state but whose removal was asked for and is
// being written, or could not be. They are refused.
type held map[grant]bool

// and returns h with more.
func (h held) and(more []grant) held {
	if len(more) == 0 {
		return h
	}
	out := maps.Clone(h)
	if out == nil {
		out = make(held, len(more))
	}
	for _, g := range more {
		out[g] = true
	}
	return out
}

// still returns those that st, which the change that took done away led to, still
// has.
func (h held) still(st *state, done []grant) held {
	var out held
	for g := range h {
		if st.has(g) && !slices.Contains(done, g) {
			out = out.and([]grant{g})
		}
	}
	return out
}

func (st *state) has(g grant) bool {
	switch {
	case !g.key.IsZero():
		_, ok := st.keys[g.key]
		return ok
	case g.operator != "":
		return st.operator[g.operator] != nil
	}
	l := st.lists[g.token.id]
	if l == nil {
		return false
	}
	_, ok := l.tokens[g.token.hash]
	return ok
}
