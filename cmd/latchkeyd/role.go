package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

func (p *program) role() *cobra.Command {
	c := &cobra.Command{Use: "role", Short: "Administer roles"}
	c.AddCommand(p.roleList(), p.roleShow(), p.rolePut(), p.roleRemove())
	return c
}

func (p *program) roleList() *cobra.Command {
	return p.command(&cobra.Command{Use: "list", Short: "List roles, their policies, and the roles that they include"}, cobra.NoArgs,
		func(ctx context.Context, control *daemon.Control, _ []string) error {
			list, err := control.Roles(ctx)
			if err != nil {
				return err
			}
			t := cli.Table{Heading: []string{"role", "policies", "includes"}}
			for _, r := range list {
				t.Add(r.Name, orNone(r.Policies), orNone(r.Includes))
			}
			return p.Print(list, t)
		})
}

func (p *program) roleShow() *cobra.Command {
	c := p.command(&cobra.Command{Use: "show ROLE", Short: "Show a role"}, cobra.ExactArgs(1),
		func(ctx context.Context, control *daemon.Control, args []string) error {
			return p.printRole(control.Role(ctx, args[0]))
		})
	return cli.CompleteArgs(c, p.roleNames())
}

func (p *program) printRole(r daemon.Role, err error) error {
	if err != nil {
		return err
	}
	var t cli.Table
	t.Add("role", r.Name)
	t.Add("policies", orNone(r.Policies))
	t.Add("includes", orNone(r.Includes))
	t.Add("version", r.Version)
	return p.Print(r, t)
}

func (p *program) rolePut() *cobra.Command {
	var t daemon.Terms
	var r acl.Role
	c := p.command(&cobra.Command{
		Use:   "put ROLE",
		Short: "Add a role, or replace the one of that name",
		Long: `Add a role, or replace the one of that name, for all who have it and at once. With
--if-version absent it only adds. One that most likely opens a door by mistake, as
"latchkeyd policy check" says it, is refused without --force. "latchkeyd policy
apply" does the same from a file, with tests.`,
		Example: "  latchkeyd role put kid --policy evenings --include guest",
	}, cobra.ExactArgs(1), func(ctx context.Context, control *daemon.Control, args []string) error {
		r.Name = args[0]
		return p.printRole(control.PutRole(ctx, r, t))
	})
	c.Flags().StringArrayVar(&r.Policies, "policy", nil, "`POLICY` that the role has; repeatable")
	c.Flags().StringArrayVar(&r.Includes, "include", nil, "`ROLE` whose policies it has too; repeatable")
	cli.CompleteFlag(c, "policy", p.policyNames())
	cli.CompleteFlag(c, "include", p.roleNames())
	terms(c, &t, true)
	c.Flags().Lookup("force").Usage = forced
	return cli.CompleteArgs(c, p.roleNames())
}

func (p *program) roleRemove() *cobra.Command {
	var t daemon.Terms
	c := p.command(&cobra.Command{Use: "remove ROLE", Short: "Remove a role that nobody has"}, cobra.ExactArgs(1),
		func(ctx context.Context, control *daemon.Control, args []string) error {
			if err := control.RemoveRole(ctx, args[0], t); err != nil || !p.JSON {
				return err
			}
			return p.PrintJSON(map[string]string{"role": args[0]})
		})
	return cli.CompleteArgs(terms(c, &t, false), p.roleNames())
}
