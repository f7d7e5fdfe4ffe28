package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

func (p *program) role() *cobra.Command {
	c := &cobra.Command{Use: "role", Short: "Show the roles of a device"}
	c.AddCommand(
		p.remote(&cobra.Command{Use: "list ALIAS", Short: "List roles and the policies that they have"}, 0,
			func(c *cobra.Command, conn *client.Conn, _ []string) error {
				list, err := conn.Roles(c.Context())
				if err != nil {
					return err
				}
				t := cli.Table{Heading: []string{"role", "policies", "includes"}}
				for _, r := range list {
					t.Add(clean(r.Name), cleanAll(r.Policies), cleanAll(r.Includes))
				}
				return p.Print(list, t)
			}),
		p.remote(&cobra.Command{Use: "show ALIAS ROLE", Short: "Show a role"}, 1,
			func(c *cobra.Command, conn *client.Conn, args []string) error {
				r, err := conn.Role(c.Context(), args[0])
				if err != nil {
					return p.noRole(err)
				}
				var t cli.Table
				t.Add("role", clean(r.Name))
				t.Add("policies", cleanAll(r.Policies))
				t.Add("includes", cleanAll(r.Includes))
				return p.Print(r, t)
			}),
	)
	return c
}

func cleanAll(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return clean(strings.Join(names, ", "))
}

func (p *program) policy() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Show and change the policies of a device from afar"}
	c.AddCommand(p.policyList(), p.policyShow(), p.policyApply())
	return c
}

func (p *program) policyList() *cobra.Command {
	return p.remote(&cobra.Command{Use: "list ALIAS", Short: "List policies and the roles that have them"}, 0,
		func(c *cobra.Command, conn *client.Conn, _ []string) error {
			list, err := conn.Policies(c.Context())
			if err != nil {
				return err
			}
			t := cli.Table{Heading: []string{"policy", "roles"}}
			for _, v := range list {
				t.Add(clean(v.Name), cleanAll(v.Roles))
			}
			return p.Print(list, t)
		})
}

func (p *program) policyShow() *cobra.Command {
	return p.remote(&cobra.Command{
		Use:     "show ALIAS POLICY",
		Short:   "Print a policy in JSON, to be changed and applied again",
		Example: "  latchkey policy show home guest > guest.json",
	}, 1, func(c *cobra.Command, conn *client.Conn, args []string) error {
		_, text, err := conn.Policy(c.Context(), args[0])
		if err != nil {
			return p.instead(err, latchkey.ErrNotFound, "latchkey policy list "+p.alias)
		}
		if p.JSON {
			return p.PrintJSON(text)
		}
		var out bytes.Buffer
		if err := json.Indent(&out, text, "", "  "); err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.Out, out.String())
		return err
	})
}

func (p *program) policyApply() *cobra.Command {
	c := &cobra.Command{
		Use:   "apply ALIAS FILE",
		Short: "Put the policies and roles of a file into the device",
		Long: `Put the policies and roles of a file, or of stdin with -, into the device, in
place of those of the same names; all others stay. The tests in the file run
first, with what the device has, and nothing is changed unless all pass. What
somebody else changes meanwhile is not overwritten.`,
		Example: "  latchkey policy apply home evenings.json",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			stdin := ""
			if args[1] == "-" {
				stdin = "FILE -"
			}
			text, err := p.readSmall("FILE", args[1], acl.MaxDocument)
			if err != nil {
				return err
			}
			document, err := acl.ParseDocument(args[1], text)
			if err != nil {
				return err
			}
			return p.dial(c, args[0], stdin, func(conn *client.Conn) error { return p.apply(c.Context(), conn, document) })
		},
	}
	cli.CompleteArgs(p.wayFlags(p.JSONFlag(c)), p.aliases)
	first := c.ValidArgsFunction
	c.ValidArgsFunction = func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return nil, cobra.ShellCompDirectiveDefault // a file
		}
		return first(c, args, word)
	}
	return c
}
