package main

import (
	"bufio"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

// A program is the tree of commands and the flags that they share.
type program struct {
	*cli.App
	dir   string
	way   wayFlags
	alias string        // that the command is about; "" while there is none
	line  *bufio.Reader // of stdin, for questions
}

func root(app *cli.App) *cobra.Command {
	p := &program{App: app, line: bufio.NewReader(app.In)}
	app.Next = p.next
	c := &cobra.Command{
		Use:   "latchkey",
		Short: "Reach devices by their keys, end to end encrypted",
		Long: `latchkey reaches services and CoAP resources of devices that run latchkeyd or are
built with its library. A device is paired once and then known by an alias that
stands for its key.`,
	}
	c.PersistentFlags().StringVar(&p.dir, "dir", "", "`DIR` of key and known devices (default latchkey in the user's configuration directory)")
	_ = c.MarkPersistentFlagDirname("dir") // the flag exists
	c.AddCommand(
		p.fingerprint(), p.pair(), p.devices(), p.trust(), p.forget(), p.discover(),
		p.services(), p.tunnel(), p.coap(), p.ping(), p.netcheck(),
		p.user(), p.key(), p.invite(), p.role(), p.policy(), p.name(), cli.ManCommand(),
	)
	return c
}

// client returns the client of --dir. Its key is made on first use.
func (p *program) client() (*client.Client, error) {
	dir := p.dir
	if dir == "" {
		base, err := os.UserConfigDir()
		if err != nil {
			return nil, cli.Usage("--dir is needed, since there is no default: %w", err)
		}
		dir = filepath.Join(base, "latchkey")
	}
	return &client.Client{Dir: dir, Logger: p.Logger()}, nil
}

// dial connects to a known device, as the flags say, and runs f with the
// connection. stdin tells what f takes from there; "" for nothing.
func (p *program) dial(c *cobra.Command, alias, stdin string, f func(*client.Conn) error) error {
	p.alias = alias
	o, err := p.dialOptions(stdin)
	if err != nil {
		return err
	}
	cl, err := p.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	conn, err := cl.DialWith(c.Context(), alias, o)
	if err != nil {
		return err
	}
	defer conn.Close()
	return f(conn)
}

func (p *program) fingerprint() *cobra.Command {
	return p.JSONFlag(&cobra.Command{
		Use:   "fingerprint",
		Short: "Print the fingerprint of this client's key",
		Long: `Print the fingerprint of this client's key, which is made on first use. A
device's administrator adds it with "latchkeyd user add NAME --key FINGERPRINT".`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cl, err := p.client()
			if err != nil {
				return err
			}
			id, err := cl.OpenIdentity()
			if err != nil {
				return err
			}
			text := id.Fingerprint().String()
			return p.PrintLine(map[string]string{"fingerprint": text}, text)
		},
	})
}

func (p *program) services() *cobra.Command {
	return cli.CompleteArgs(p.wayFlags(p.JSONFlag(&cobra.Command{
		Use:   "services ALIAS",
		Short: "List the services of a device that we may know of, and whether we may open them",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.dial(c, args[0], "", func(conn *client.Conn) error {
				list, err := conn.Services(c.Context())
				if err != nil {
					return err
				}
				t := cli.Table{Heading: []string{"service", "type", "tunnel"}}
				for _, s := range list {
					verdict := "refused"
					if s.Open {
						verdict = "allowed"
					}
					t.Add(s.ID, s.Type, verdict)
				}
				return p.Print(list, t)
			})
		},
	})), p.aliases)
}

func (p *program) ping() *cobra.Command {
	var count int
	c := &cobra.Command{
		Use:   "ping ALIAS",
		Short: "Measure round trips to a device and show the path",
		Long: `Measure round trips to a device and show the path that each of them took: local
on the device's own network, direct from address to address, or relay through
the basestation. A session that begins on the relay moves to a direct path as
soon as there is one.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if count < 1 {
				return cli.Usage("--count must be above zero")
			}
			return p.dial(c, args[0], "", func(conn *client.Conn) error {
				return p.pingTimes(c.Context(), conn, args[0], count)
			})
		},
	}
	c.Flags().IntVar(&count, "count", 4, "`N` round trips")
	return cli.CompleteArgs(p.wayFlags(p.JSONFlag(c)), p.aliases)
}
