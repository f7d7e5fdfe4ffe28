package daemon

import (
	"context"
	"net/netip"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/tunnel"
)

// A Question is what Explain decides. Without User, Key and Role it is about a
// stranger.
type Question struct {
	User     string                `json:"user,omitempty"`
	Key      *latchkey.Fingerprint `json:"key,omitempty"`  // one key of the user
	Role     string                `json:"role,omitempty"` // somebody with it who is no user, as a token makes
	Action   acl.Action            `json:"action"`
	Resource string                `json:"resource"`
	Path     acl.PathKind          `json:"path,omitempty"`     // how the peer is connected; "": unknown
	Source   netip.Addr            `json:"source,omitzero"`    // from where; zero: unknown
	Time     time.Time             `json:"time,omitzero"`      // when; zero: now
	NoClock  bool                  `json:"no_clock,omitempty"` // the device does not know the time
	KeyAge   time.Duration         `json:"key_age,omitempty"`  // in nanoseconds; 0: that of Key, or unknown
	Claims   map[string][]string   `json:"claims,omitempty"`   // of a token; several values make a list
}

// An Explanation is a decision and what led to it.
type Explanation struct {
	Allowed bool   `json:"allowed"`
	User    string `json:"user"`
	Role    string `json:"role"`
	Reason  string `json:"reason"`
	Mode    string `json:"mode,omitempty"` // how the device refuses
	// Webhook is the program that decided in place of the policies; "": they did.
	// Trace is what they say.
	Webhook string `json:"webhook,omitempty"`
	Trace   []Step `json:"trace"`
}

// A Step is what one statement of a policy had to say.
type Step struct {
	Policy    string `json:"policy"`
	Statement int    `json:"statement"` // counted from 1
	Effect    string `json:"effect"`
	Matched   bool   `json:"matched"`
	Decided   bool   `json:"decided,omitempty"` // it is the one that the decision comes from
	Reason    string `json:"reason,omitempty"`  // why it did not match
}

// Explain decides the question as the device would and says why. A user that is
// not there is latchkey.ErrNotFound.
func (c *Control) Explain(ctx context.Context, q Question) (Explanation, error) {
	return admin.Call[Explanation](ctx, c.backend, opExplain, q)
}

func (a *administrator) explain(ctx context.Context, q Question) (out Explanation, err error) {
	if q.User != "" {
		if _, err := a.user(ctx, named{q.User}); err != nil {
			return out, err
		}
	}
	r := a.request(q)
	d := a.access.Explain(r)
	out = Explanation{
		Allowed: d.Effect == acl.Allow, User: d.Subject.User, Role: d.Subject.Role, Reason: d.Reason, Trace: []Step{},
	}
	if d.Effect == acl.Deny && d.Mode != acl.Respond {
		out.Mode = d.Mode.String()
	}
	for _, s := range d.Trace {
		decided := s.Matched && s.Policy == d.Policy && s.Statement == d.Statement
		out.Trace = append(out.Trace, Step{s.Policy, s.Statement, s.Effect.String(), s.Matched, decided, s.Reason})
	}
	if a.config().Authorize.Webhook == "" {
		return out, nil
	}
	r.User, r.Role, r.Expires = d.Subject.User, d.Subject.Role, d.Subject.Expires
	return out, a.consult(ctx, r, &out)
}

// request is what the door would be asked.
func (a *administrator) request(q Question) *acl.Request {
	r := &acl.Request{
		Device: a.dev.DeviceID(a.key), User: q.User, Role: q.Role, Action: q.Action, Resource: q.Resource,
		Path: q.Path, Source: q.Source, Time: q.Time,
	}
	if r.Time.IsZero() && !q.NoClock {
		r.Time = time.Now()
	}
	if q.Key != nil {
		r.Peer = *q.Key
		s, _ := a.access.Lookup(r.Peer)
		r.KeyAdded, r.KeyOrigin = s.Added, s.Origin
	}
	if q.KeyAge > 0 && !r.Time.IsZero() {
		r.KeyAdded = r.Time.Add(-q.KeyAge)
	}
	for name, values := range q.Claims {
		if r.Claims == nil {
			r.Claims = make(map[string]any)
		}
		list := make([]any, len(values))
		for i, v := range values {
			list[i] = v
		}
		if r.Claims[name] = any(list); len(list) == 1 {
			r.Claims[name] = list[0]
		}
	}
	if q.Action == acl.TunnelOpen || q.Action == acl.ServiceList {
		r.ServiceType, r.Target = a.target(q.Resource)
	}
	return r
}

// consult asks the program that decides in place of the policies. It is told that
// nothing depends on its answer but what is shown.
func (a *administrator) consult(ctx context.Context, r *acl.Request, out *Explanation) error {
	hook := a.hook
	if !a.running {
		var err error
		if hook, err = newDelegate(a.config().Authorize, a.log); err != nil {
			return err
		}
		defer hook.close()
	}
	if hook == nil {
		return nil // it decides from the next start on
	}
	r.Listing = true
	err := acl.Bounds(r)
	if err == nil {
		err = hook.authorize(ctx, r)
	}
	out.Webhook, out.Allowed, out.Mode, out.Reason = a.config().Authorize.Webhook, err == nil, "", "the webhook allows it"
	if err != nil {
		out.Reason = err.Error()
	}
	for i := range out.Trace {
		out.Trace[i].Decided = false
	}
	return nil
}

// target returns tcp, udp or unix for a service of the configuration, and what it
// leads to.
func (a *administrator) target(id string) (network, target string) {
	for _, s := range a.config().Services {
		if s.ID == id {
			if t, err := tunnel.ParseTarget(s.Target); err == nil {
				return t.Network(), t.String()
			}
		}
	}
	return "", ""
}
