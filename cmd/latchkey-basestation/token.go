package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/station"
)

func (p *program) token() *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Make and revoke connect tokens, which open the gate to devices"}
	c.AddCommand(p.tokenCreate(), p.tokenList(), p.tokenRevoke())
	return c
}

// tokenFlags is what token create is told.
type tokenFlags struct {
	device, product, key, note string
	expires                    time.Duration
	uses                       int
}

func (f tokenFlags) token() (t station.NewToken, err error) {
	switch {
	case f.expires < 0:
		return t, cli.Usage("--expires must not be below zero")
	case f.uses < 0:
		return t, cli.Usage("--uses must not be below zero")
	case f.product != "":
		if !(latchkey.DeviceID{Product: f.product, Device: "x"}).Valid() {
			return t, cli.Usage("%q is not a product: 1 to 63 of a-z, 0-9 and -, not beginning with -", f.product)
		}
		t.Scope.Product = f.product
	default:
		id, err := parseID(f.device)
		if err != nil {
			return t, err
		}
		t.Scope = station.Scope{Product: id.Product, Device: id.Device}
	}
	if f.key != "" {
		if t.Key, err = parseFingerprint(f.key); err != nil {
			return t, err
		}
	}
	if f.expires > 0 {
		t.Expires = f.expires.String()
	}
	t.Uses, t.Note = f.uses, f.note
	return t, nil
}

func (p *program) tokenCreate() *cobra.Command {
	var given tokenFlags
	c := &cobra.Command{
		Use:   "create",
		Short: "Make a connect token and print it, once",
		Long: `Make a connect token for one device or all devices of a product, and print it.
It is kept nowhere and cannot be shown again. It lets a client be introduced to a
device; what the client may do there, the device decides.`,
		Example: "  latchkey-basestation token create --device acme/gw1 --expires 24h --uses 1",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			token, err := given.token()
			if err != nil {
				return err
			}
			return p.control(c, func(control *station.Control) error {
				made, err := control.CreateToken(c.Context(), token)
				if err != nil {
					return err
				}
				var t cli.Table
				t.Add("token", made.Secret)
				t.Add("id", made.ID)
				t.Add("scope", made.Scope.String())
				t.Add("expires", when(made.Expires))
				return p.Print(made, t)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&given.device, "device", "", "it opens the gate to `PRODUCT/DEVICE`")
	f.StringVar(&given.product, "product", "", "it opens the gate to all devices of `PRODUCT`")
	f.StringVar(&given.key, "key", "", "only the client with the key of this `FINGERPRINT` may use it (default any)")
	f.DurationVar(&given.expires, "expires", 0, "it is good for this `DURATION`, such as 24h (default for ever)")
	f.IntVar(&given.uses, "uses", 0, "it may be used `N` times (default without limit)")
	f.StringVar(&given.note, "note", "", "`TEXT` that says what it is for")
	c.MarkFlagsMutuallyExclusive("device", "product")
	c.MarkFlagsOneRequired("device", "product")
	cli.CompleteFlag(c, "device", p.deviceIDs())
	return p.JSONFlag(c)
}

func (p *program) tokenList() *cobra.Command {
	return p.JSONFlag(&cobra.Command{
		Use:   "list",
		Short: "List the tokens that were made here, without the tokens themselves",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.control(c, func(control *station.Control) error {
				list, err := control.Tokens(c.Context())
				if err != nil {
					return err
				}
				t := cli.Table{Heading: []string{"id", "scope", "key", "expires", "uses", "note"}}
				for _, token := range list {
					t.Add(token.ID, token.Scope.String(), boundTo(token), when(token.Expires), uses(token), token.Note)
				}
				return p.Print(list, t)
			})
		},
	})
}

func boundTo(t station.Token) string {
	if t.Key.IsZero() {
		return "any"
	}
	return t.Key.Short()
}

func uses(t station.Token) string {
	if t.Uses == 0 {
		return "unlimited"
	}
	return fmt.Sprintf("%d of %d", t.Used, t.Uses)
}

func (p *program) tokenRevoke() *cobra.Command {
	return cli.CompleteArgs(&cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a token; \"token list\" names the ids",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.control(c, func(control *station.Control) error {
				return control.RevokeToken(c.Context(), args[0])
			})
		},
	}, p.tokenIDs())
}
