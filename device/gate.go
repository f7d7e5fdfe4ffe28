package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/gate"
)

// AuthorizeFunc decides whether one operation may go ahead; nil means yes. It
// is asked for every CoAP request on every path, known or not, for discovery,
// for an observation when it is registered and before each notification, for
// every forwarded request and every tunnel, for pairing and administration;
// always after the handshake proved that the peer holds r.Peer's key, and
// before any other code sees the operation.
//
// The peer learns latchkey.CodeOf of the error and nothing else; the error
// itself goes to the log. An error made by acl.Refuse also says how to treat the
// peer; see acl.Mode. A panic refuses, and so does an answer that comes
// after ctx has ended, which happens with the session or after
// Limits.AuthorizeTime. An AuthorizeFunc may be called from many goroutines at
// once. It replaces the policies; to keep them, call acl.Store.Authorize. What
// acl.Bounds refuses it is not asked about.
type AuthorizeFunc func(ctx context.Context, r *acl.Request) error

// A door is the only caller of the authorization hook and the only maker of
// passes.
type door struct {
	hook   AuthorizeFunc
	prompt bool // the hook is the store's own, which does not wait
	limits func() Limits
	calls  atomic.Int64 // of the hook under way
	log    *slog.Logger
}

func newDoor(hook AuthorizeFunc, limits func() Limits, log *slog.Logger) *door {
	return &door{hook: hook, limits: limits, log: log}
}

// admit asks the hook about r. The pass it returns holds a copy of r as it was
// before the hook saw it, so nobody can be judged on one thing and do another.
func (d *door) admit(ctx context.Context, r *acl.Request) (gate.Pass, error) {
	pass := gate.New(r)
	err := d.ask(ctx, r)
	if latchkey.CodeOf(err) == latchkey.CodeInternal {
		err = fmt.Errorf("%w: %w", latchkey.ErrForbidden, err) // a hook's own error is a no
	}
	d.record(ctx, pass.Request(), err)
	if err != nil {
		return gate.Pass{}, err
	}
	return pass, nil
}

// again asks about something that was allowed before and is under way. It
// returns nil if that may go on: because the hook says so, or because ctx has
// ended and everything ends anyway.
func (d *door) again(ctx context.Context, r *acl.Request) error {
	_, err := d.still(ctx, r)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// still does the same for what needs a new pass to go on. A clear no is
// latchkey.ErrRevoked, or ErrTokenExpired if that is why. No answer in time is
// asked for once more, and then a no of its own kind.
func (d *door) still(ctx context.Context, r *acl.Request) (gate.Pass, error) {
	pass, err := d.admit(ctx, r)
	if undecided(err) && ctx.Err() == nil {
		pass, err = d.admit(ctx, r)
	}
	switch {
	case err == nil:
		return pass, nil
	case undecided(err), errors.Is(err, latchkey.ErrTokenExpired):
		return gate.Pass{}, err
	}
	return gate.Pass{}, latchkey.ErrRevoked
}

func undecided(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, latchkey.ErrTooMany)
}

// ask asks nobody about what is out of bounds for every hook. A hook of the
// application runs on a goroutine of its own, because one that forgets its
// context must cost no more than the place it occupies.
func (d *door) ask(ctx context.Context, r *acl.Request) error {
	if err := acl.Bounds(r); err != nil {
		return err
	}
	if d.prompt {
		return d.call(ctx, r)
	}
	limits := d.limits()
	if n := d.calls.Add(1); n > int64(limits.AuthorizeCalls) {
		d.calls.Add(-1)
		return fmt.Errorf("%w: %d authorization calls under way", latchkey.ErrTooMany, n-1)
	}
	ctx, cancel := context.WithTimeout(ctx, limits.AuthorizeTime)
	defer cancel()
	asked := copyOf(r)
	answer := make(chan error, 1)
	go func() { // ends with the hook; admit does not wait longer than ctx
		defer d.calls.Add(-1)
		answer <- d.call(ctx, asked)
	}()
	select {
	case err := <-answer:
		if err == nil && ctx.Err() != nil {
			err = fmt.Errorf("%w: authorization came too late: %w", latchkey.ErrForbidden, ctx.Err())
		}
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: no authorization in time: %w", latchkey.ErrForbidden, ctx.Err())
	}
}

// copyOf is what a hook may change without anybody else seeing it.
func copyOf(r *acl.Request) *acl.Request {
	c := *r
	c.Claims = maps.Clone(r.Claims)
	if r.Token != nil {
		token := *r.Token
		token.Scope = slices.Clone(token.Scope)
		c.Token = &token
	}
	return &c
}

func (d *door) call(ctx context.Context, r *acl.Request) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: authorization panicked: %v", latchkey.ErrForbidden, v)
		}
	}()
	return d.hook(ctx, r)
}

// record writes the decision to the log: refusals at Warn, with the reason that
// the peer does not get, and permissions at Info, but for those of which there
// can be thousands a second: CoAP and what may be listed are at Debug.
func (d *door) record(ctx context.Context, r acl.Request, err error) {
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelWarn
	} else if strings.HasPrefix(string(r.Action), "coap:") {
		level = slog.LevelDebug
	}
	if r.Listing {
		level = slog.LevelDebug
	}
	if !d.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("op", string(r.Action)), slog.String("resource", r.Resource),
		slog.Any("peer", r.Peer), slog.String("user", r.User), slog.String("path", string(r.Path)),
	}
	if err == nil {
		d.log.LogAttrs(ctx, level, "allowed", attrs...)
		return
	}
	attrs = append(attrs, slog.String("code", latchkey.CodeOf(err).String()), slog.Any("err", err))
	d.log.LogAttrs(ctx, level, "refused", attrs...)
}
