package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
	"github.com/latchkey-dev/latchkey/pairing"
)

// offered asks the daemon or its files for a list, and offers names from it; what
// cannot be asked offers none.
func offered[T any](p *program, ask func(*daemon.Control, context.Context) ([]T, error), names func(T) []string) cli.Choice {
	return func(c *cobra.Command) (all []string) {
		err := p.control(c, func(control *daemon.Control) error {
			list, err := ask(control, c.Context())
			for _, v := range list {
				all = append(all, names(v)...)
			}
			return err
		})
		if err != nil {
			return nil
		}
		return all
	}
}

func (p *program) userNames() cli.Choice {
	return offered(p, (*daemon.Control).Users, func(u acl.Account) []string { return []string{u.Name} })
}

// keys offers the fingerprints of all users.
func (p *program) keys() cli.Choice {
	return offered(p, (*daemon.Control).Users, func(u acl.Account) (names []string) {
		for _, k := range u.Keys {
			names = append(names, k.Fingerprint.String())
		}
		return names
	})
}

func (p *program) policyNames() cli.Choice {
	return offered(p, (*daemon.Control).Policies, func(policy daemon.Policy) []string { return []string{policy.Name} })
}

// roleNames offers the roles that users can have.
func (p *program) roleNames() cli.Choice {
	return offered(p, (*daemon.Control).Roles, func(r daemon.Role) []string {
		if r.Name == acl.RoleUnpaired {
			return nil
		}
		return []string{r.Name}
	})
}

var modes = cli.Choices((pairing.LocalInitial | pairing.LocalOpen | pairing.PasswordOpen | pairing.Invite).Names()...)
