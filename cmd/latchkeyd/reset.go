package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

func (p *program) reset() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "reset",
		Short: "Remove all users, invitations, passwords and settings; the device's own key stays",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !yes && !p.agreed() {
				return cli.WithNext(cli.Usage("reset removes all users and settings and was not confirmed"), "latchkeyd reset --yes --dir "+p.dir)
			}
			return p.control(c, func(control *daemon.Control) error {
				gone, err := control.Reset(c.Context())
				if err != nil {
					return err
				}
				return p.PrintLine(gone, gone.String())
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return p.JSONFlag(c)
}

// agreed asks a person; without a terminal nobody can agree.
func (p *program) agreed() bool {
	if !p.Interactive() {
		return false
	}
	fmt.Fprintf(p.Err, "Remove all users and settings of %s? [y/N] ", p.dir)
	line, _ := bufio.NewReader(p.In).ReadString('\n') // the end of the input is a no
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}
