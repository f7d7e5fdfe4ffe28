package daemon

import (
	"context"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/tunnel"
)

// A Question is what Explain decides. Without User and Key it is about a
// stranger.
type Question struct {
	User     string                `json:"user,omitempty"`
	Key      *latchkey.Fingerprint `json:"key,omitempty"` // one key of the user
	Action   acl.Action            `json:"action"`
	Resource string                `json:"resource"`
	Path     acl.PathKind          `json:"path,omitempty"` // how the peer is connected; "": unknown
}

// An Explanation is a decision and what led to it.
type Explanation struct {
	Allowed bool   `json:"allowed"`
	User    string `json:"user"`
	Role    string `json:"role"`
	Reason  string `json:"reason"`
	Trace   []Step `json:"trace"`
}

// A Step is what one statement of a policy had to say.
type Step struct {
	Policy    string `json:"policy"`
	Statement int    `json:"statement"` // counted from 1
	Effect    string `json:"effect"`
	Matched   bool   `json:"matched"`
	Reason    string `json:"reason,omitempty"` // why it did not match
}

// Explain decides the question as the device would and says why. A user that is
// not there is latchkey.ErrNotFound.
func (c *Control) Explain(ctx context.Context, q Question) (Explanation, error) {
	return admin.Call[Explanation](ctx, c.backend, opExplain, q)
}

func (a *administrator) explain(ctx context.Context, q Question) (Explanation, error) {
	r := &acl.Request{
		Device: a.dev.DeviceID(a.key), User: q.User, Action: q.Action, Resource: q.Resource, Path: q.Path, Time: time.Now(),
	}
	if q.Key != nil {
		r.Peer = *q.Key
	}
	if q.User != "" {
		if _, err := a.user(ctx, named{q.User}); err != nil {
			return Explanation{}, err
		}
	}
	if q.Action == acl.TunnelOpen || q.Action == acl.ServiceList {
		r.ServiceType = a.serviceType(q.Resource)
	}
	d := a.access.Explain(r)
	out := Explanation{
		Allowed: d.Effect == acl.Allow, User: d.Subject.User, Role: d.Subject.Role, Reason: d.Reason, Trace: []Step{},
	}
	for _, s := range d.Trace {
		out.Trace = append(out.Trace, Step{s.Policy, s.Statement, s.Effect.String(), s.Matched, s.Reason})
	}
	return out, nil
}

// serviceType returns tcp, udp or unix for a service of the configuration.
func (a *administrator) serviceType(id string) string {
	for _, s := range a.config().Services {
		if s.ID == id {
			if t, err := tunnel.ParseTarget(s.Target); err == nil {
				return t.Network()
			}
		}
	}
	return ""
}
