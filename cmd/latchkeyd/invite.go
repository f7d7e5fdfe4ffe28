package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

func (p *program) invite() *cobra.Command {
	var i daemon.NewInvite
	var life string
	c := p.command(&cobra.Command{
		Use:   "invite USER",
		Short: "Print a pairing URL by which one client becomes USER, once",
		Long: `Print an invitation, alone on one line; a terminal shows it as a QR code as well.
Whoever pairs with it first becomes USER, from anywhere if the device has a
basestation, while the pairing mode invite is open. It holds a password, so show
it to nobody else. "latchkeyd invites" lists and withdraws invitations.`,
		Example: "  latchkeyd invite bob --role user --expires 24h",
	}, cobra.ExactArgs(1), func(ctx context.Context, control *daemon.Control, args []string) error {
		i.User = args[0]
		made, err := control.Invite(ctx, i)
		if err != nil {
			return err
		}
		if !made.Open {
			p.Hint(p.openInvite(made.Running) + ", for the invitation works only while that mode is open")
		}
		return p.printSecretURL(made, made.URL)
	})
	p.first(c, func([]string) error {
		if life == "" {
			return nil
		}
		d, err := cli.ParseLife("--expires", life)
		i.For = d.String()
		return err
	})
	c.Flags().StringVar(&i.Role, "role", "", "`ROLE` of the user (default "+daemon.DefaultRole+")")
	c.Flags().StringVar(&life, "expires", "", "`DURATION` that the invitation holds, such as 24h or 7d (default 24h)")
	cli.CompleteFlag(c, "role", p.roleNames())
	return c
}

// openInvite is how mode invite is opened.
func (p *program) openInvite(running bool) string {
	if running {
		return "latchkeyd pairing open invite --dir " + p.dir
	}
	return "list invite under pairing in " + daemon.ConfigFile + " before the daemon starts, or run latchkeyd pairing open invite after that"
}

// printSecretURL shows a secret to the one person it is for: as a line, and on a
// terminal as a QR code.
func (p *program) printSecretURL(v any, url string) error {
	if err := p.PrintLine(v, url); err != nil || p.JSON || !p.OutTerminal() {
		return err
	}
	return cli.WriteQR(p.Out, url, true)
}

func (p *program) invites() *cobra.Command {
	c := &cobra.Command{Use: "invites", Short: "Look at invitations and withdraw them"}
	c.AddCommand(
		p.command(&cobra.Command{Use: "list", Short: "List invitations that were neither used nor withdrawn"}, cobra.NoArgs,
			func(ctx context.Context, control *daemon.Control, _ []string) error {
				list, err := control.Invites(ctx)
				if err != nil {
					return err
				}
				t := cli.Table{Heading: []string{"id", "user", "role", "by", "expires", "wrong passwords"}}
				for _, i := range list {
					t.Add(i.ID, i.User, i.Role, i.By, cli.Stamp(i.Expires), fmt.Sprint(i.Failures))
				}
				return p.Print(list, t)
			}),
		cli.CompleteArgs(p.command(&cobra.Command{Use: "remove ID", Short: "Withdraw an invitation"}, cobra.ExactArgs(1),
			func(ctx context.Context, control *daemon.Control, args []string) error {
				if err := control.RemoveInvite(ctx, args[0]); err != nil || !p.JSON {
					return err
				}
				return p.PrintJSON(map[string]string{"id": args[0]})
			}), p.inviteIDs()),
	)
	return c
}

func (p *program) inviteIDs() cli.Choice {
	return offered(p, (*daemon.Control).Invites, func(i acl.Invite) []string { return []string{i.ID + "\t" + i.User} })
}
