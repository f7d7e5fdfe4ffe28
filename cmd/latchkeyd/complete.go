package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
	"github.com/latchkey-dev/latchkey/pairing"
)

// offer asks the daemon or its files for names; what cannot be asked offers none.
func (p *program) offer(names func(context.Context, *daemon.Control) ([]string, error)) cli.Choice {
	return func(c *cobra.Command) []string {
		var list []string
		err := p.control(c, func(control *daemon.Control) (err error) {
			list, err = names(c.Context(), control)
			return err
		})
		if err != nil {
			return nil
		}
		return list
	}
}

func (p *program) userNames() cli.Choice {
	return p.offer(func(ctx context.Context, control *daemon.Control) (names []string, err error) {
		users, err := control.Users(ctx)
		for _, u := range users {
			names = append(names, u.Name)
		}
		return names, err
	})
}

// keys offers the fingerprints of all users.
func (p *program) keys() cli.Choice {
	return p.offer(func(ctx context.Context, control *daemon.Control) (names []string, err error) {
		users, err := control.Users(ctx)
		for _, u := range users {
			for _, k := range u.Keys {
				names = append(names, k.Fingerprint.String())
			}
		}
		return names, err
	})
}

func (p *program) policyNames() cli.Choice {
	return p.offer(func(ctx context.Context, control *daemon.Control) (names []string, err error) {
		list, err := control.Policies(ctx)
		for _, policy := range list {
			names = append(names, policy.Name)
		}
		return names, err
	})
}

// roles offers the roles that some policy is for, without that of strangers.
func (p *program) roles() cli.Choice {
	return p.offer(func(ctx context.Context, control *daemon.Control) (names []string, err error) {
		list, err := control.Policies(ctx)
		for _, policy := range list {
			names = append(names, policy.Roles...)
		}
		slices.Sort(names)
		names = slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == acl.RoleUnpaired })
		return names, err
	})
}

var modes = cli.Choices(pairing.LocalInitial.Names()...)
