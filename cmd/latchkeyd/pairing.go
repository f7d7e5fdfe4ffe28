package main

import (
	"bufio"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
	"github.com/latchkey-dev/latchkey/pairing"
)

func (p *program) pairing() *cobra.Command {
	c := &cobra.Command{Use: "pairing", Short: "Say who may pair"}
	c.AddCommand(p.pairingStatus(), p.pairingOpen(), p.pairingClose())
	return c
}

func (p *program) printPairing(st daemon.PairingStatus) error {
	var t cli.Table
	t.Add("open", openModes(st.Open, st.Running))
	t.Add("configured", orNone(st.Configured))
	return p.Print(st, t)
}

func (p *program) pairingStatus() *cobra.Command {
	return p.JSONFlag(&cobra.Command{
		Use:   "status",
		Short: "Show which pairing modes are open",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.control(c, func(control *daemon.Control) error {
				st, err := control.PairingStatus(c.Context())
				if err != nil {
					return err
				}
				return p.printPairing(st)
			})
		},
	})
}

func (p *program) pairingOpen() *cobra.Command {
	var length time.Duration
	c := &cobra.Command{
		Use:   "open MODE",
		Short: "Open a pairing mode of the running daemon until it is used up, closed or restarted",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			mode, err := parseMode(args[0])
			if err != nil {
				return err
			}
			if length < 0 {
				return cli.Usage("--for must not be below zero")
			}
			return p.control(c, func(control *daemon.Control) error {
				st, err := control.OpenPairing(c.Context(), mode, length)
				if err != nil {
					return err
				}
				return p.printPairing(st)
			})
		},
	}
	c.Flags().DurationVar(&length, "for", 0, "close it after this `DURATION`, such as 10m")
	return cli.CompleteArgs(p.JSONFlag(c), modes)
}

func (p *program) pairingClose() *cobra.Command {
	return cli.CompleteArgs(p.JSONFlag(&cobra.Command{
		Use:   "close MODE",
		Short: "Close a pairing mode of the running daemon",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			mode, err := parseMode(args[0])
			if err != nil {
				return err
			}
			return p.control(c, func(control *daemon.Control) error {
				st, err := control.ClosePairing(c.Context(), mode)
				if err != nil {
					return err
				}
				return p.printPairing(st)
			})
		},
	}), modes)
}

func parseMode(s string) (pairing.Modes, error) {
	m, err := pairing.ParseMode(s)
	if err != nil {
		return 0, cli.Usage("%w", err)
	}
	return m, nil
}

func (p *program) reset() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "reset",
		Short: "Remove all users and keys; the device's own key stays",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !yes && !p.agreed() {
				return cli.WithNext(cli.Usage("reset removes all users and keys and was not confirmed"), "latchkeyd reset --yes --dir "+p.dir)
			}
			return p.control(c, func(control *daemon.Control) error {
				gone, err := control.Reset(c.Context())
				if err != nil {
					return err
				}
				return p.PrintLine(gone, fmt.Sprintf("removed %d users with %d keys", gone.Users, gone.Keys))
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
	fmt.Fprintf(p.Err, "Remove all users and keys of %s? [y/N] ", p.dir)
	line, _ := bufio.NewReader(p.In).ReadString('\n') // the end of the input is a no
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}
