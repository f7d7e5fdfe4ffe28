package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

func (p *program) policy() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Look at policies"}
	c.AddCommand(p.policyShow(), p.policyCheck())
	return c
}

func (p *program) policyShow() *cobra.Command {
	return cli.CompleteArgs(p.JSONFlag(&cobra.Command{
		Use:   "show [NAME]",
		Short: "List the policies, or show one in full",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.control(c, func(control *daemon.Control) error {
				list, err := control.Policies(c.Context())
				if err != nil {
					return err
				}
				if len(args) == 1 {
					return p.showPolicy(list, args[0])
				}
				t := cli.Table{Heading: []string{"policy", "roles"}}
				for _, policy := range list {
					t.Add(policy.Name, orNone(policy.Roles))
				}
				return p.Print(list, t)
			})
		},
	}), p.policyNames())
}

// showPolicy prints one policy as policy check reads it.
func (p *program) showPolicy(list []daemon.Policy, name string) error {
	i := slices.IndexFunc(list, func(policy daemon.Policy) bool { return policy.Name == name })
	if i < 0 {
		return cli.WithNext(fmt.Errorf("there is no policy %q", name), "latchkeyd policy show")
	}
	if p.JSON {
		return p.PrintJSON(list[i])
	}
	var text bytes.Buffer
	if err := json.Indent(&text, list[i].Text, "", "  "); err != nil {
		return err
	}
	return p.PrintLine(nil, text.String())
}

func (p *program) policyCheck() *cobra.Command {
	return cli.CompleteFiles(&cobra.Command{
		Use:   "check FILE",
		Short: "Say what is wrong with a policy, with line and column",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			policy, err := daemon.CheckPolicy(args[0], p.In)
			if err != nil {
				return err
			}
			return p.PrintLine(nil, fmt.Sprintf("policy %s: %d statements, nothing wrong", policy.Name(), len(policy.Statements())))
		},
	})
}
