package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

func (p *program) token() *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Look at tokens, make and revoke them"}
	c.AddCommand(p.tokenList(), p.tokenCreate(), p.tokenRevoke())
	return c
}

func (p *program) tokenList() *cobra.Command {
	return p.command(&cobra.Command{
		Use:   "list",
		Short: "List connect tokens of pairing URLs, and tokens by which sessions have logged in",
	}, cobra.NoArgs, func(ctx context.Context, control *daemon.Control, _ []string) error {
		list, err := control.Tokens(ctx)
		if err != nil {
			return err
		}
		t := cli.Table{Heading: []string{"kind", "id", "subject", "role", "issuer", "expires"}}
		for _, c := range list.Connect {
			t.Add("connect", c.ID, "-", "-", "-", cli.Stamp(c.Expires))
		}
		for _, s := range list.Sessions {
			t.Add("login", orDash(s.ID), orDash(s.Subject), s.Role, s.Issuer, cli.Stamp(s.Expires))
		}
		return p.Print(list, t)
	})
}

// orDash makes texts of others fit for a line of a table.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	if text := fmt.Sprintf("%q", s); text != `"`+s+`"` {
		return text
	}
	return s
}

func (p *program) tokenCreate() *cobra.Command {
	return p.command(&cobra.Command{
		Use:   "create",
		Short: "Print a fresh connect token, alone on one line",
		Long: `Print a fresh connect token, alone on one line. It lets whoever holds it through
the basestation to this device, ten times within 24 hours and until somebody has
paired. It opens nothing at the device itself.`,
	}, cobra.NoArgs, func(ctx context.Context, control *daemon.Control, _ []string) error {
		token, err := control.NewToken(ctx)
		if err != nil {
			return err
		}
		return p.PrintLine(map[string]string{"token": token.Reveal()}, token.Reveal())
	})
}

func (p *program) tokenRevoke() *cobra.Command {
	var r daemon.Revocation
	var until string
	c := p.command(&cobra.Command{
		Use:   "revoke ID",
		Short: "Refuse a token from now on, and end what it was good for",
		Long: `Refuse a token from now on, and end what it was good for. ID is that of a connect
token, or the claim jti of a token by which a session has logged in; that one is
refused until it would have expired. A token that no session has shown is named by
its issuer and its end as well.`,
		Example: "  latchkeyd token revoke 1f2e3d4c\n  latchkeyd token revoke JTI --issuer https://idp.example --until 30d",
	}, cobra.ExactArgs(1), func(ctx context.Context, control *daemon.Control, _ []string) error {
		gone, err := control.RevokeToken(ctx, r)
		if err != nil || !p.JSON {
			return err
		}
		return p.PrintJSON(gone)
	})
	p.first(c, func(args []string) (err error) {
		r.ID = args[0]
		r.Until, err = cli.ParseWhen("--until", until)
		return err
	})
	c.Flags().StringVar(&r.Issuer, "issuer", "", "`ISSUER` of the token")
	c.Flags().StringVar(&until, "until", "", "when the token expires: "+cli.WhenText)
	c.MarkFlagsRequiredTogether("issuer", "until")
	return cli.CompleteArgs(c, p.tokenIDs())
}

// tokenIDs offers what can be revoked.
func (p *program) tokenIDs() cli.Choice {
	ask := func(control *daemon.Control, ctx context.Context) ([]daemon.Tokens, error) {
		list, err := control.Tokens(ctx)
		return []daemon.Tokens{list}, err
	}
	return offered(p, ask, func(list daemon.Tokens) (ids []string) {
		for _, c := range list.Connect {
			ids = append(ids, c.ID)
		}
		for _, s := range list.Sessions {
			if s.ID != "" {
				ids = append(ids, s.ID)
			}
		}
		return ids
	})
}
