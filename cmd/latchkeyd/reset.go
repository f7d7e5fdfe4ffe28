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
	var yes, identity bool
	c := &cobra.Command{
		Use:   "reset",
		Short: "Make the device as new; its own key stays, unless --identity is given",
		Long: `Remove all users, invitations, passwords and settings, and set roles and policies
back. The pairing modes of latchkeyd.yaml are open again. The device's own key stays,
and so do the audit log and the list of removed keys, on which the former owners'
keys are now: a restore brings users back, but none of these keys. With --identity
the device gets a new key: to all who knew it, it is another device then.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !yes && !p.agreed() {
				again := "latchkeyd reset --yes --dir " + p.dir
				if identity {
					again = "latchkeyd reset --identity --yes --dir " + p.dir
				}
				return cli.WithNext(cli.Usage("reset removes all users and settings and was not confirmed"), again)
			}
			if identity {
				return p.resetIdentity(c)
			}
			return p.control(c, func(control *daemon.Control) error {
				gone, err := control.Reset(c.Context())
				if err != nil {
					return err
				}
				p.ownerless()
				return p.PrintLine(gone, gone.String())
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&identity, "identity", false, "make a new key for the device as well; no daemon may run")
	return p.JSONFlag(c)
}

func (p *program) resetIdentity(c *cobra.Command) error {
	made, err := daemon.ResetIdentity(c.Context(), p.dir)
	if err != nil {
		return err
	}
	p.ownerless()
	var t cli.Table
	t.Add("reset", made.Reset.String())
	t.Add("fingerprint", made.Fingerprint.String())
	t.Add("before", made.Before.String())
	t.Add("audit log before", made.Audit)
	return p.Print(made, t)
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
