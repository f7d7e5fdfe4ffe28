package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/station"
)

// offer asks the basestation or its files for names; what cannot be asked offers
// none.
func (p *program) offer(names func(context.Context, *station.Control) ([]string, error)) cli.Choice {
	return func(c *cobra.Command) []string {
		var list []string
		err := p.control(c, func(control *station.Control) (err error) {
			list, err = names(c.Context(), control)
			return err
		})
		if err != nil {
			return nil
		}
		return list
	}
}

func (p *program) deviceIDs() cli.Choice {
	return p.offer(func(ctx context.Context, control *station.Control) (names []string, err error) {
		list, err := control.Devices(ctx)
		for _, d := range list {
			names = append(names, d.ID.String())
		}
		return names, err
	})
}

func (p *program) tokenIDs() cli.Choice {
	return p.offer(func(ctx context.Context, control *station.Control) (names []string, err error) {
		list, err := control.Tokens(ctx)
		for _, t := range list {
			names = append(names, t.ID)
		}
		return names, err
	})
}
