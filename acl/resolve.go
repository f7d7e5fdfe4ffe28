package acl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey-dev/latchkey"
)

// resolve works out the policies of every role. It refuses roles that include
// each other (latchkey.ErrConflict, naming the circle), or one that is not there
// (latchkey.ErrNotFound), and more policies than a decision may take
// (latchkey.ErrTooMany).
func (st *state) resolve() error {
	st.effective = make(map[string][]*Policy, len(st.roles))
	for name := range st.roles {
		if _, err := st.flatten(name, nil); err != nil {
			return err
		}
	}
	return nil
}

// resolveLeniently does the same for a state that need not be whole: roles that
// cannot be resolved have no entry, and who has one is refused.
func (st *state) resolveLeniently() {
	st.effective = make(map[string][]*Policy, len(st.roles))
	for name := range st.roles {
		_, _ = st.flatten(name, nil)
	}
}

// flatten returns the policies of a role, its own first. above are the roles that
// led here.
func (st *state) flatten(name string, above []string) ([]*Policy, error) {
	if done, ok := st.effective[name]; ok {
		return done, nil
	}
	if i := slices.Index(above, name); i >= 0 {
		circle := strings.Join(append(slices.Clone(above[i:]), name), " includes ")
		return nil, fmt.Errorf("roles in a circle: %s: %w", circle, latchkey.ErrConflict)
	}
	above = append(slices.Clip(above), name)
	r := st.roles[name]
	if r == nil {
		return nil, fmt.Errorf("role %q includes %q: %w", above[max(0, len(above)-2)], name, latchkey.ErrNotFound)
	}
	if len(r.Includes) > MaxAttached {
		return nil, fmt.Errorf("role %q includes %d roles, %d are the most: %w", name, len(r.Includes), MaxAttached, latchkey.ErrTooMany)
	}
	list, ok := st.named(nil, r.Policies)
	if !ok {
		return nil, fmt.Errorf("role %q has a policy that is not there: %w", name, latchkey.ErrNotFound)
	}
	for i, other := range r.Includes {
		if slices.Contains(r.Includes[:i], other) {
			return nil, fmt.Errorf("role %q includes %q twice: %w", name, other, latchkey.ErrConflict)
		}
		inherited, err := st.flatten(other, above)
		if err != nil {
			return nil, err
		}
		for _, p := range inherited {
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	if len(list) > MaxInherited {
		return nil, fmt.Errorf("role %q has %d policies with the roles that it includes, %d are the most: %w",
			name, len(list), MaxInherited, latchkey.ErrTooMany)
	}
	st.effective[name] = list
	return list, nil
}

// named appends the policies of those names, and reports whether all are there.
func (st *state) named(policies []*Policy, names []string) ([]*Policy, bool) {
	for _, name := range names {
		p := st.policies[name]
		if p == nil {
			return policies, false
		}
		policies = append(policies, p)
	}
	return policies, true
}
