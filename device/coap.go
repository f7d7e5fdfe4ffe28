package device

import (
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/gate"
)

// Bounds on the path of a request, in docs/protocol.md section 4.
const (
	maxSegments = 32
	maxPath     = 1024 // bytes
)

// conditional are the critical options that routes pass on (RFC 7252 section
// 5.10.8) and nobody else here understands.
var conditional = []uint16{coap.IfMatch, coap.IfNoneMatch}

// An operation is what a request names: the question for the door, and what
// runs with its pass. Making one has no effect.
type operation struct {
	action   acl.Action
	resource string
	run      func(context.Context, gate.Pass, *coap.Request) *coap.Response
}

// serveCoAP answers one request: clean, name, ask, run.
func (p *peer) serveCoAP(ctx context.Context, r *coap.Request) *coap.Response {
	path, err := cleanPath(r.Path)
	if err != nil {
		return p.senseless(r, "", err)
	}
	op, own, err := p.name(path, r)
	if err != nil {
		return p.senseless(r, path, err)
	}
	changed := p.srv.changed() // before the door is asked, so that no change is missed
	pass, err := p.admit(ctx, p.question(op.action, op.resource))
	if err != nil {
		return p.refused(r, err)
	}
	if own {
		return p.answerOwn(ctx, op, pass, r)
	}
	return p.revocable(ctx, op, pass, r, changed)
}

// senseless answers a request that names nothing the door could judge. It counts as
// refused, by a rule that has no exceptions.
func (p *peer) senseless(r *coap.Request, path string, err error) *coap.Response {
	p.log.Info("request refused", "resource", path, "code", latchkey.CodeOf(err), "err", err)
	p.told(acl.Event{Kind: acl.EventAccess, Action: coapAction("coap", r.Code), Object: path, Detail: "no request that could be judged"}, err)
	return p.refused(r, err)
}

// admit asks the door about an operation that begins, and tells the audit log.
func (p *peer) admit(ctx context.Context, q *acl.Request) (gate.Pass, error) {
	pass, err := p.srv.door.admit(ctx, q)
	p.decided(q, err)
	return pass, err
}

// refused answers a request that the door refused, in the way that the rules
// ask for.
func (p *peer) refused(r *coap.Request, err error) *coap.Response {
	answer := refuse(err)
	if acl.ModeOf(err) == acl.Silent && r.Code != coap.GET && r.Code != coap.FETCH {
		answer = coap.NewResponse(coap.Changed)
	}
	if cause := p.strike(err); cause != nil {
		r.Answer(answer) // the session has to carry it
		p.expelled.take(&p.work, func() { p.end(cause) })
	}
	return answer
}

// strike counts a refusal. It returns why the session has to end, nil if it may
// go on.
func (p *peer) strike(err error) error {
	within := p.refusals.Allow()
	switch {
	case acl.ModeOf(err) == acl.Disconnect:
		return fmt.Errorf("device: %w", latchkey.ErrDisconnected)
	case !within:
		return fmt.Errorf("device: too many refusals: %w", latchkey.ErrAbuse)
	}
	return nil
}

// cleanPath joins the segments to the one spelling that is judged and served.
// It refuses, with latchkey.ErrProtocol, segments that another program could
// read as something else: "." and "..", empty ones but a last, and any that
// hold "/", control characters or invalid UTF-8.
func cleanPath(segments []string) (string, error) {
	if len(segments) > maxSegments {
		return "", fmt.Errorf("%w: path of %d segments", latchkey.ErrProtocol, len(segments))
	}
	var b strings.Builder
	for i, s := range segments {
		switch {
		case s == "." || s == "..",
			s == "" && i < len(segments)-1,
			!utf8.ValidString(s),
			strings.ContainsFunc(s, func(r rune) bool { return r == '/' || unicode.IsControl(r) }):
			return "", fmt.Errorf("%w: path segment %d", latchkey.ErrProtocol, i)
		case b.Len()+1+len(s) > maxPath:
			return "", fmt.Errorf("%w: path over %d bytes", latchkey.ErrProtocol, maxPath)
		}
		b.WriteByte('/')
		b.WriteString(s)
	}
	if b.Len() == 0 {
		return "/", nil
	}
	return b.String(), nil
}

// name finds what a path stands for: a resource of the device itself, which is
// its own, a route, or the application's handler, in this order.
func (p *peer) name(path string, r *coap.Request) (op operation, own bool, err error) {
	if r.Code < coap.GET || r.Code > coap.IPATCH {
		return operation{}, false, fmt.Errorf("%w: method %d", latchkey.ErrMethodNotAllowed, r.Code)
	}
	if op, own = p.builtin(path, r.Code); own {
		return op, true, nil
	}
	if op, ok := p.route(path, r); ok {
		return op, false, nil
	}
	action := coapAction("coap", r.Code)
	if r.Observation != nil && p.srv.observable(path) {
		action = acl.CoAPObserve
	}
	return operation{action: action, resource: path, run: func(ctx context.Context, pass gate.Pass, r *coap.Request) *coap.Response {
		if action == acl.CoAPObserve {
			return p.observe(ctx, pass, r)
		}
		return p.handle(ctx, pass, action, r)
	}}, false, nil
}

// coapAction is "coap:get" for GET, and so on; prefix is coap or route.
func coapAction(prefix string, method coap.Code) acl.Action {
	return acl.Action(prefix + ":" + strings.ToLower(methodName(method)))
}

// handle runs the application's handler on what the pass was made for.
func (p *peer) handle(ctx context.Context, pass gate.Pass, action acl.Action, r *coap.Request) *coap.Response {
	path, err := pass.Redeem(action)
	if err != nil {
		return refuse(err)
	}
	if p.srv.dev.Handler == nil {
		return refuse(latchkey.ErrNotFound)
	}
	for _, number := range conditional {
		if _, ok := r.Option(number); ok {
			return coap.NewResponse(coap.BadOption) // only upstream servers understand them
		}
	}
	judged := pass.Request()
	w := newResponse(r.Code, p.srv.limits().Body)
	defer func() {
		if v := recover(); v != nil {
			p.log.Error("handler panicked", "resource", path, "err", v)
			Error(w, latchkey.ErrInternal)
		}
	}()
	p.srv.dev.Handler.ServeCoAP(w, &Request{
		Method: r.Code, Path: path, Query: r.Query, Format: r.Format, Accept: r.Accept, Body: r.Body,
		Peer: p.key, User: judged.User, Role: judged.Role, ctx: ctx,
	})
	return w.message()
}
