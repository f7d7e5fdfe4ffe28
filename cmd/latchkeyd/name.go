package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

func (p *program) name() *cobra.Command {
	var configured bool
	c := p.command(&cobra.Command{
		Use:   "name [NAME]",
		Short: "Show the device's name for people, or give it another",
		Long: `Show the device's name for people, or give it another. It is kept in access.db,
wins over the name in latchkeyd.yaml, and discovery shows it at once.`,
	}, cobra.MaximumNArgs(1), func(ctx context.Context, control *daemon.Control, args []string) error {
		switch {
		case configured && len(args) == 1:
			return cli.Usage("give either a name or --configured")
		case configured:
			args = []string{""}
		case len(args) == 1 && args[0] == "":
			return cli.Usage("a name is not empty; --configured goes back to that of %s", daemon.ConfigFile)
		}
		if len(args) == 1 {
			if err := control.SetName(ctx, args[0]); err != nil {
				return err
			}
		}
		now, err := control.Name(ctx)
		if err != nil {
			return err
		}
		return p.PrintLine(map[string]string{"name": now}, now)
	})
	c.Flags().BoolVar(&configured, "configured", false, "go back to the name in "+daemon.ConfigFile)
	return c
}
