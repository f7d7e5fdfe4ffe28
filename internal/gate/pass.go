package gate

import (
	"fmt"
	"maps"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// A Pass says that the door let one operation through, and which. The zero
// Pass is refused wherever a Pass is redeemed.
type Pass struct{ judged *acl.Request }

// New makes a Pass for r. Only the door calls it, after the hook said yes.
func New(r *acl.Request) Pass {
	judged := *r
	judged.Claims = maps.Clone(r.Claims)
	return Pass{&judged}
}

// Redeem returns the resource that was judged. It refuses, with
// latchkey.ErrForbidden, the zero Pass and a Pass for another action.
func (p Pass) Redeem(action acl.Action) (resource string, err error) {
	switch {
	case p.judged == nil:
		return "", fmt.Errorf("%w: nobody asked the door", latchkey.ErrForbidden)
	case p.judged.Action != action:
		return "", fmt.Errorf("%w: the pass is for %s, not for %s", latchkey.ErrForbidden, p.judged.Action, action)
	}
	return p.judged.Resource, nil
}

// Request returns a copy of what was judged; the zero Request for the zero Pass.
func (p Pass) Request() acl.Request {
	if p.judged == nil {
		return acl.Request{}
	}
	return *p.judged
}
