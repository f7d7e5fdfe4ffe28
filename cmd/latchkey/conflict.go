package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

// What follows says what an administrator does about a refusal from afar, where
// the general step would be about something else.

// noUser is about a user that is not there.
func (p *program) noUser(err error) error {
	return p.instead(err, latchkey.ErrNotFound, "latchkey user list "+p.alias)
}

// noRole is about a role that is not there.
func (p *program) noRole(err error) error {
	return p.instead(err, latchkey.ErrNotFound, "latchkey role list "+p.alias)
}

// taken is about a name or a key that somebody has already.
func (p *program) taken(err error, step string) error {
	if meanwhile(err) {
		return err
	}
	return p.instead(err, latchkey.ErrConflict, step)
}

// inTheWay is about a user who cannot be added: one is there of that name, in this
// or another case, or has the key.
func (p *program) inTheWay(ctx context.Context, conn *client.Conn, err error, name string, u client.NewUser) error {
	if !errors.Is(err, latchkey.ErrConflict) {
		return err
	}
	users, _ := conn.Users(ctx) // who may not list them is told to ask somebody who may
	for _, there := range users {
		switch who := p.alias + " " + clean(there.Name); {
		case !strings.EqualFold(there.Name, name):
		case !u.Expires.IsZero():
			return cli.WithNext(err, "latchkey user expire "+who+" WHEN")
		case !u.Key.IsZero():
			return cli.WithNext(err, "latchkey key add "+p.alias+" "+u.Key.String()+" --user "+clean(there.Name))
		default:
			return cli.WithNext(err, "latchkey user show "+who)
		}
	}
	for _, there := range users {
		if slices.ContainsFunc(there.Keys, func(k acl.Key) bool { return k.Fingerprint == u.Key }) {
			return cli.WithNext(err, "latchkey key remove "+p.alias+" "+u.Key.String()+" --user "+clean(there.Name))
		}
	}
	return cli.WithNext(err, "latchkey user list "+p.alias+", and choose a name that is free; who is invited has one too")
}

func (p *program) instead(err, sentinel error, step string) error {
	if errors.Is(err, sentinel) {
		return cli.WithNext(err, step)
	}
	return err
}

// meanwhile reports whether somebody else was faster.
func meanwhile(err error) bool {
	var conflict *client.ConflictError
	return errors.As(err, &conflict)
}

// lastAdmin explains a conflict that is none of versions and none of names: then
// the last administrator would go.
func (p *program) lastAdmin(err error, u client.Account, forced bool) error {
	if !errors.Is(err, latchkey.ErrConflict) || meanwhile(err) || forced || u.Role != acl.RoleAdmin {
		return err
	}
	if hinted := (interface{ NextStep() string })(nil); errors.As(err, &hinted) {
		return err
	}
	return cli.WithNext(fmt.Errorf("%w: %s may be the last administrator", err, clean(u.Name)),
		"make somebody else an administrator first, or repeat the command with --force")
}
