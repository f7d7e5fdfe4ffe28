package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

// searchTime is how long a search of the local network takes by default.
const searchTime = 3 * time.Second

func (p *program) discover() *cobra.Command {
	var length time.Duration
	c := &cobra.Command{
		Use:   "discover",
		Short: "List the devices that answer on the local network",
		Long: `List the devices that answer on the local network. What they say about
themselves proves nothing: the key decides when one is dialled.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if length <= 0 {
				return cli.Usage("--for must be above zero")
			}
			cl, err := p.client()
			if err != nil {
				return err
			}
			list, err := search(c.Context(), cl, length)
			if err != nil {
				return err
			}
			return p.printFound(list)
		},
	}
	c.Flags().DurationVar(&length, "for", searchTime, "search for this `DURATION`")
	return p.JSONFlag(c)
}

// printFound says on stderr when there is nothing to print.
func (p *program) printFound(list []client.Found) error {
	if len(list) == 0 {
		p.Note("", errNobody)
	}
	return p.Print(list, foundTable(list))
}

var errNobody = errors.New("no device answers on this network")

// search collects what answers, the newest word of each device.
func search(ctx context.Context, cl *client.Client, length time.Duration) ([]client.Found, error) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	list := []client.Found{}
	for f, err := range cl.Discover(ctx) {
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			return nil, err
		}
		list = slices.DeleteFunc(list, func(was client.Found) bool { return was.ID == f.ID && was.Key == f.Key })
		if !f.Gone {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b client.Found) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return list, nil
}

func foundTable(list []client.Found) cli.Table {
	t := cli.Table{Heading: []string{"device", "name", "claims key", "addresses"}}
	for _, f := range list {
		t.Add(f.ID.String(), clean(f.Name), f.Key.String(), strings.Join(addrs(f), " "))
	}
	return t
}

func addrs(f client.Found) []string {
	var list []string
	for _, a := range f.Addrs {
		list = append(list, a.String())
	}
	return list
}

// clean takes out of a stranger's text what could upset a terminal or a table.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unprintable(r) || r == '\n' || r == '\t' || r == '\r' {
			return -1
		}
		return r
	}, s)
}
