package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

// known runs f with the file of known devices.
func (p *program) known(f func(*client.Known) error) error {
	cl, err := p.client()
	if err != nil {
		return err
	}
	known, err := cl.OpenKnown()
	if err != nil {
		return err
	}
	return f(known)
}

// aliases offers the known devices to a shell.
func (p *program) aliases(*cobra.Command) []string {
	var names []string
	err := p.known(func(known *client.Known) error {
		for _, d := range known.List() {
			names = append(names, d.Alias)
		}
		return nil
	})
	if err != nil {
		return nil
	}
	return names
}

func (p *program) devices() *cobra.Command {
	return p.JSONFlag(&cobra.Command{
		Use:   "devices",
		Short: "List the known devices",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return p.known(func(known *client.Known) error {
				list := known.List()
				t := cli.Table{Heading: []string{"alias", "device", "user", "key", "addresses"}}
				for _, d := range list {
					t.Add(d.Alias, d.ID.String(), d.User, d.Key.String(), strings.Join(d.Addrs, " "))
				}
				return p.Print(list, t)
			})
		},
	})
}

func (p *program) trust() *cobra.Command {
	return cli.CompleteArgs(&cobra.Command{
		Use:   "trust ALIAS FINGERPRINT",
		Short: "Accept another key for a known device",
		Long: `Make FINGERPRINT the key that ALIAS stands for. Do this only when the device was
replaced on purpose, and take the fingerprint from the device itself.`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := parseFingerprint(args[1])
			if err != nil {
				return err
			}
			return p.known(func(known *client.Known) error { return known.Trust(args[0], key) })
		},
	}, p.aliases)
}

func (p *program) forget() *cobra.Command {
	return cli.CompleteArgs(&cobra.Command{
		Use:   "forget ALIAS",
		Short: "Remove a device from the known ones; the device is not asked",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return p.known(func(known *client.Known) error { return known.Forget(args[0]) })
		},
	}, p.aliases)
}

func parseFingerprint(s string) (latchkey.Fingerprint, error) {
	key, err := latchkey.ParseFingerprint(s)
	if err != nil {
		return key, cli.Usage("%w", err)
	}
	return key, nil
}
