package device

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/roster"
)

// A call is a request on one of the device's own resources that the door let
// through.
type call struct {
	*coap.Request
	judged   acl.Request // by the door
	resource resource
	values   map[string]string // of the pattern's wildcards
	after    string            // what a list continues behind
	terms    roster.Terms
	changed  <-chan struct{} // closed once the rules are others than the door was asked by

	peer  *peer           // who calls, and
	ctx   context.Context // for how long; both set by managed
	asked []question      // what the door let through beside what was judged
}

// A question is what the door is asked about.
type question struct {
	action   acl.Action
	resource string
}

// plain makes a handler of a method that needs nothing but the request.
func plain(f func(*peer, context.Context, *coap.Request) *coap.Response) handler {
	return func(p *peer, ctx context.Context, c *call) *coap.Response { return f(p, ctx, c.Request) }
}

// managed makes a handler of what works on the roster.
func managed(f func(*peer, *roster.Roster, *call) (*coap.Response, error)) handler {
	return func(p *peer, ctx context.Context, c *call) *coap.Response {
		if p.srv.access == nil {
			return refuse(latchkey.ErrNotFound)
		}
		if code := c.readOptions(); code != 0 {
			return coap.NewResponse(code)
		}
		c.peer, c.ctx = p, ctx
		answer, err := c.answer(f)
		if err == nil {
			return answer
		}
		p.log.Warn("request failed", "op", c.judged.Action, "resource", c.judged.Resource, "code", latchkey.CodeOf(err), "err", err)
		var door *doorError
		if errors.As(err, &door) || errors.Is(err, latchkey.ErrTooMany) {
			return p.refused(c.Request, err) // who does not stop is shown out
		}
		return refuse(err)
	}
}

func (c *call) answer(f func(*peer, *roster.Roster, *call) (*coap.Response, error)) (*coap.Response, error) {
	if c.terms.Force {
		if err := c.also(acl.UserRole, c.judged.Resource); err != nil {
			return nil, err
		}
	}
	return f(c.peer, c.peer.srv.roster(), c)
}

// A doorError is the door's no to what a call implies.
type doorError struct{ error }

func (e *doorError) Unwrap() error { return e.error }

// also asks the door about something else that a call amounts to.
func (c *call) also(action acl.Action, resource string) error {
	if action == c.judged.Action && resource == c.judged.Resource {
		return nil
	}
	pass, err := c.peer.admit(c.ctx, c.peer.question(action, resource))
	if err != nil {
		return &doorError{err}
	}
	if _, err := pass.Redeem(action); err != nil {
		return err
	}
	c.asked = append(c.asked, question{action, resource})
	return nil
}

// gives asks the door whether the caller may give a new user a role: what every
// user is at first needs no more than to make one.
func (c *call) gives(role string) error {
	if role == "" || role == acl.RoleGuest {
		return nil
	}
	return c.also(acl.UserRole, c.judged.Resource)
}

// roster is what administrators work on.
func (s *server) roster() *roster.Roster {
	return &roster.Roster{
		Access: s.access, Pairing: s.pairing, Event: s.event, Now: s.clock.now,
		Quota: &s.quota, Hooked: !s.door.prompt,
	}
}

// actor is the caller as the door judged it.
func (c *call) actor() roster.Actor {
	token := ""
	if t := c.judged.Token; t != nil {
		token = t.Issuer + "/" + t.Subject
	}
	return roster.Actor{
		Key: c.judged.Peer, Token: token, User: c.judged.User, Path: c.judged.Path, Source: c.judged.Source,
		Changed: c.changed, Again: c.again, Waits: !c.peer.srv.door.prompt,
	}
}

// again asks the door once more whatever it was asked for this call, and returns
// when that is out of date.
func (c *call) again() (<-chan struct{}, error) {
	changed := c.peer.srv.changed() // before the door is asked, so that no change is missed
	for _, ask := range append([]question{{c.judged.Action, c.judged.Resource}}, c.asked...) {
		q := c.peer.question(ask.action, ask.resource)
		if q.User != c.judged.User {
			return nil, fmt.Errorf("%w: the caller has another name now", latchkey.ErrForbidden)
		}
		if _, err := c.peer.srv.door.admit(c.ctx, q); err != nil {
			return nil, err
		}
	}
	return changed, nil
}

// value returns what the wildcard of that name stands for.
func (c *call) value(name string) string { return c.values[name] }

// key reads the fingerprint in the path. One that cannot be is nobody's.
func (c *call) key() (latchkey.Fingerprint, error) {
	key, err := latchkey.ParseFingerprint(c.value("key"))
	if err != nil {
		return key, latchkey.ErrNotFound
	}
	return key, nil
}

// readOptions reads the format, the query and the terms of a request. It returns
// the code to refuse with, 0 if it understood everything.
func (c *call) readOptions() coap.Code {
	if c.Format != coap.NoFormat && c.Format != coap.JSON {
		return coap.UnsupportedFormat
	}
	for _, text := range c.Query {
		if !c.readParam(text) {
			return coap.BadOption
		}
	}
	for _, o := range c.Options {
		switch o.Number {
		case coap.IfMatch:
			if !c.resource.can(takesVersion) || c.terms.Version != "" || len(o.Value) != roster.VersionBytes {
				return coap.BadOption
			}
			c.terms.Version = hex.EncodeToString(o.Value)
		case coap.IfNoneMatch:
			if !c.resource.can(takesFresh) || c.terms.Version != "" {
				return coap.BadOption
			}
			c.terms.Version = roster.Absent
		}
	}
	return 0
}

// readParam takes one query option.
func (c *call) readParam(text string) bool {
	name, value, _ := strings.Cut(text, "=")
	switch {
	case c.resource.can(takesAfter) && name == "after" && value != "" && c.after == "":
		c.after = value
		return true
	case c.resource.can(takesForce) && text == "force=true":
		c.terms.Force = true
		return true
	}
	return false
}

func (r *resource) can(t takes) bool { return r.takes&t != 0 }

// versioned answers with JSON and with the version of what it shows as ETag.
func versioned(code Code, now string, v any) (*coap.Response, error) {
	tag, err := hex.DecodeString(now)
	if err != nil {
		return nil, err
	}
	answer := reply(code, v)
	answer.Options = append(answer.Options, coap.Option{Number: coap.ETag, Value: tag})
	return answer, nil
}

// maxPage is how much of a list is shown at once in bytes; whoever wants more
// asks for what comes after the last name.
const maxPage = 64 << 10

// page answers with the beginning of a list, whole items, as many as fit, and
// one at least.
func page[T any](list []T) (*coap.Response, error) {
	shown, size := []json.RawMessage{}, 0
	for _, item := range list {
		text, err := json.Marshal(item)
		if err != nil {
			return nil, err
		}
		if size += len(text); size > maxPage && len(shown) > 0 {
			break
		}
		shown = append(shown, text)
	}
	return reply(coap.Content, shown), nil
}
