package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
	"github.com/latchkey-dev/latchkey/pairing"
)

func (p *program) pairing() *cobra.Command {
	c := &cobra.Command{Use: "pairing", Short: "Say who may pair"}
	c.AddCommand(p.pairingStatus(), p.pairingOpen(), p.pairingClose())
	return c
}

func (p *program) printPairing(st daemon.PairingStatus, err error) error {
	if err != nil {
		return err
	}
	var t cli.Table
	t.Add("open", openModes(st.Open, st.Running))
	t.Add("configured", orNone(st.Configured))
	for _, m := range st.Modes {
		text := "open"
		switch {
		case m.Blocked != "":
			text = m.Blocked
		case !m.Until.IsZero():
			text += " until " + cli.Stamp(m.Until)
		}
		if m.Blocked == "" && m.Mode == pairing.PasswordOpen.String() {
			text += fmt.Sprintf(", closed after %d more wrong passwords", st.Tries)
		}
		t.Add(m.Mode, text)
	}
	t.Add("invitations", fmt.Sprint(st.Invites))
	return p.Print(st, t)
}

func (p *program) pairingStatus() *cobra.Command {
	return p.command(&cobra.Command{Use: "status", Short: "Show which pairing modes are open, until when, and what is in the way"}, cobra.NoArgs,
		func(ctx context.Context, control *daemon.Control, _ []string) error {
			return p.printPairing(control.PairingStatus(ctx))
		})
}

func (p *program) pairingOpen() *cobra.Command {
	var life, file string
	var length time.Duration
	var mode pairing.Modes
	var password latchkey.Secret
	c := p.command(&cobra.Command{
		Use:   "open MODE",
		Short: "Open a pairing mode of the running daemon until it is used up, closed or restarted",
		Long: `Open a pairing mode of the running daemon until it is used up, closed or
restarted: local-initial, local-open, password-open or invite.

password-open makes a password, in place of the one before, and prints a pairing
URL that holds it, alone on one line; a terminal shows it as a QR code as well.
With --password-file the password is read from there.`,
		Example: "  latchkeyd pairing open password-open --for 10m",
	}, cobra.ExactArgs(1), func(ctx context.Context, control *daemon.Control, _ []string) error {
		st, err := control.OpenPairing(ctx, mode, length, password)
		if err == nil && st.URL != "" {
			return p.printSecretURL(st, st.URL)
		}
		return p.printPairing(st.PairingStatus, err)
	})
	p.first(c, func(args []string) (err error) {
		if mode, err = parseMode(args[0]); err != nil {
			return err
		}
		if life != "" {
			if length, err = cli.ParseLife("--for", life); err != nil {
				return err
			}
		}
		if file == "" {
			return nil
		}
		if mode != pairing.PasswordOpen {
			return cli.Usage("--password-file is for password-open")
		}
		password, err = p.readPassword(file)
		return err
	})
	c.Flags().StringVar(&life, "for", "", "close it after this `DURATION`, such as 10m")
	c.Flags().StringVar(&file, "password-file", "", "private `FILE` with the password of password-open, or - for stdin")
	_ = c.MarkFlagFilename("password-file") // the flag exists
	return cli.CompleteArgs(c, modes)
}

func (p *program) pairingClose() *cobra.Command {
	c := p.command(&cobra.Command{Use: "close MODE", Short: "Close a pairing mode of the running daemon"}, cobra.ExactArgs(1),
		func(ctx context.Context, control *daemon.Control, args []string) error {
			mode, err := parseMode(args[0])
			if err != nil {
				return err
			}
			return p.printPairing(control.ClosePairing(ctx, mode))
		})
	return cli.CompleteArgs(c, modes)
}

func parseMode(s string) (pairing.Modes, error) {
	m, err := pairing.ParseMode(s)
	if err != nil {
		return 0, cli.Usage("%w", err)
	}
	return m, nil
}
