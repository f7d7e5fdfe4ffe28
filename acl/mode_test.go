package acl

import (
	"errors"
	"fmt"
	"testing"

	"github.com/latchkey-dev/latchkey"
)

func TestModeNames(t *testing.T) {
	for mode, want := range map[Mode]string{Respond: "respond", Disconnect: "disconnect", Silent: "silent", 3: "respond", 255: "respond"} {
		if got, _ := mode.MarshalText(); string(got) != want {
			t.Errorf("%d: %s", mode, got)
		}
		if back, err := parseMode(want); err != nil || int(mode) < len(modes) && back != mode {
			t.Errorf("%s: %d, %v", want, back, err)
		}
	}
	for _, s := range []string{"", "Respond", "deny", "silent "} {
		if _, err := parseMode(s); err == nil {
			t.Errorf("%q: accepted", s)
		}
	}
}

// A hook's error says how to refuse, however deep it lies, and is forbidden to
// everybody else.
func TestModeOf(t *testing.T) {
	for _, m := range []Mode{Respond, Disconnect, Silent} {
		err := fmt.Errorf("hook: %w", Refuse(m, "not today"))
		if ModeOf(err) != m || !errors.Is(err, latchkey.ErrForbidden) || latchkey.CodeOf(err) != latchkey.CodeOf(latchkey.ErrForbidden) {
			t.Errorf("%s: %v", m, err)
		}
	}
	for _, err := range []error{nil, errors.New("x"), latchkey.ErrForbidden} {
		if m := ModeOf(err); m != Respond {
			t.Errorf("%v: %s", err, m)
		}
	}
}

// Silent is for exactly the actions that change something.
func TestSilentActions(t *testing.T) {
	may := map[Action]bool{}
	for _, kind := range []string{"coap:", "route:"} {
		for _, how := range []string{"post", "put", "delete", "patch", "ipatch"} {
			may[Action(kind+how)] = true
		}
	}
	for _, a := range known {
		_, err := NewPolicy("p", Statement{Effect: Deny, Mode: Silent, Actions: []string{string(a)}, Resources: []string{"**"}})
		if (err == nil) != may[a] {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// A store's refusal carries the mode of the statement that denies.
func TestAuthorizeCarriesTheMode(t *testing.T) {
	s := newStore(t)
	fp := pair(t, s, "bob", RoleUser, 1)
	for _, m := range []Mode{Respond, Disconnect, Silent} {
		update(t, s, func(tx *Tx) error {
			p, err := NewPolicy(RoleUser, Statement{Effect: Deny, Mode: m, Actions: []string{"coap:put"}, Resources: []string{"/x"}})
			return errors.Join(err, tx.PutPolicy(p))
		})
		r := &Request{Peer: fp, Action: CoAPPut, Resource: "/x"}
		if err := s.Authorize(t.Context(), r); err == nil || ModeOf(err) != m {
			t.Errorf("%s: %v", m, err)
		}
		if d := s.Explain(r); d.Mode != m || d.Effect != Deny {
			t.Errorf("%s: %+v", m, d)
		}
		r.Resource = "/y" // refused because nothing allows it
		if err := s.Authorize(t.Context(), r); err == nil || ModeOf(err) != Respond {
			t.Errorf("%s: %v", m, err)
		}
	}
}
