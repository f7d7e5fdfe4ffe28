package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

func (p *program) key() *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "Administer keys on a device, your own or other users'"}
	c.AddCommand(p.keyAdd(), p.keyRename(), p.keyExpire(), p.keyPolicies(), p.keyRemove())
	return c
}

// owned makes a command about a key of a user, with the flag that names the
// user. It changes the account only if nobody else has meanwhile.
func (p *program) owned(c *cobra.Command, args int, run func(context.Context, *client.Conn, client.Account, latchkey.Fingerprint, client.Terms, []string) error) *cobra.Command {
	var user string
	var key latchkey.Fingerprint
	c = p.remote(c, args, func(c *cobra.Command, conn *client.Conn, args []string) error {
		u, err := p.account(c.Context(), conn, user)
		if err != nil {
			return err
		}
		return run(c.Context(), conn, u, key, client.Terms{Version: u.Version}, args[1:])
	})
	dial := c.RunE
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		if key, err = parseFingerprint(args[1]); err != nil {
			return err
		}
		return dial(c, args)
	}
	c.Flags().StringVar(&user, "user", "", "`USER` whose key it is (default yourself)")
	return c
}

// account returns a user, or who we are.
func (p *program) account(ctx context.Context, conn *client.Conn, user string) (client.Account, error) {
	if user == "" {
		var err error
		if user, err = conn.Me(ctx); err != nil {
			return client.Account{}, err
		}
		if user == "" {
			return client.Account{}, cli.WithNext(errors.New("the device knows this client by no user name"), "repeat the command with --user USER")
		}
	}
	u, err := conn.User(ctx, user)
	return u, p.noUser(err)
}

func (p *program) keyAdd() *cobra.Command {
	var k client.NewKey
	var expires string
	c := p.owned(&cobra.Command{
		Use:   "add ALIAS FINGERPRINT",
		Short: "Let one more key act as a user",
		Long: `Let one more key act as a user, by default as yourself: so a phone or a second
machine gets in. There "latchkey fingerprint" prints its key. A key that you add
for yourself may do what the key that you use may, and for no longer.`,
		Example: "  latchkey key add home FINGERPRINT --name phone",
	}, 1, func(ctx context.Context, conn *client.Conn, u client.Account, key latchkey.Fingerprint, t client.Terms, _ []string) error {
		changed, err := conn.AddKey(ctx, u.Name, key, k, t)
		if err != nil {
			return p.taken(err, "latchkey user list "+p.alias+" --json, to see whose key it is")
		}
		return p.printUser(changed)
	})
	beforehand(c, func() (err error) {
		k.Expires, err = parseWhen("--expires", expires)
		return err
	})
	c.Flags().StringVar(&k.Name, "name", "", "`NAME` for the key, such as phone")
	c.Flags().StringVar(&expires, "expires", "", "end of the key: "+whenText)
	return c
}

func (p *program) keyRename() *cobra.Command {
	return p.owned(&cobra.Command{Use: "rename ALIAS FINGERPRINT NAME", Short: "Give a key another name"}, 2,
		func(ctx context.Context, conn *client.Conn, u client.Account, key latchkey.Fingerprint, t client.Terms, args []string) error {
			changed, err := conn.ChangeKey(ctx, u.Name, key, client.KeyChange{Name: &args[0]}, t)
			if err != nil {
				return p.noKey(err, u)
			}
			return p.printUser(changed)
		})
}

// rekey makes a command that changes what a key may do, or for how long.
func (p *program) rekey(c *cobra.Command, args int, read func(args []string) (client.KeyChange, error)) *cobra.Command {
	var force bool
	var k client.KeyChange
	c = p.owned(c, args, func(ctx context.Context, conn *client.Conn, u client.Account, key latchkey.Fingerprint, t client.Terms, _ []string) error {
		t.Force = force
		changed, err := conn.ChangeKey(ctx, u.Name, key, k, t)
		if err != nil {
			err = p.noKey(err, u)
			if k.Policies != nil {
				err = p.instead(err, latchkey.ErrNotFound, "latchkey user show "+p.alias+" "+clean(u.Name)+", latchkey policy list "+p.alias)
			}
			return p.lastAdmin(err, u, force)
		}
		return p.printUser(changed)
	})
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		if k, err = read(args[2:]); err != nil {
			return err
		}
		return run(c, args)
	}
	c.Flags().BoolVar(&force, "force", false, forceText)
	return c
}

func (p *program) keyExpire() *cobra.Command {
	c := p.rekey(&cobra.Command{
		Use:   "expire ALIAS FINGERPRINT WHEN",
		Short: "Say when a key ends; its user stays",
		Long: "Say when a key ends; its user stays. A key of your own can only end earlier.\n" +
			cli.WhenArg,
		Example: "  latchkey key expire home FINGERPRINT 30d --user bob",
	}, 2, func(args []string) (client.KeyChange, error) {
		when, err := parseWhen("WHEN", args[0])
		return client.KeyChange{Expires: &when}, err
	})
	return cli.CompleteArgs(c, p.aliases, cli.Choices[string](), cli.Choices("never"))
}

func (p *program) keyPolicies() *cobra.Command {
	return attaching(p.rekey(&cobra.Command{
		Use:     "policies ALIAS FINGERPRINT [POLICY]...",
		Short:   "Say which policies hold for a key beside those of its user",
		Example: "  latchkey key policies home FINGERPRINT evenings --user bob",
	}, 1, func(args []string) (client.KeyChange, error) {
		return client.KeyChange{Policies: &args}, nil
	}), "user")
}

func (p *program) keyRemove() *cobra.Command {
	var force bool
	c := p.owned(&cobra.Command{Use: "remove ALIAS FINGERPRINT", Short: "Take a key from a user; its sessions end at once"}, 1,
		func(ctx context.Context, conn *client.Conn, u client.Account, key latchkey.Fingerprint, t client.Terms, _ []string) error {
			t.Force = force
			if err := conn.RemoveKey(ctx, u.Name, key, t); err != nil {
				return p.lastAdmin(p.noKey(err, u), u, force)
			}
			return p.PrintLine(removed{u.Name, key}, "removed key "+key.String()+" of "+clean(u.Name))
		})
	c.Flags().BoolVar(&force, "force", false, forceText)
	return c
}

// removed is a key that was taken from a user.
type removed struct {
	User string               `json:"user"`
	Key  latchkey.Fingerprint `json:"key"`
}

// noKey is about a key that is not the user's.
func (p *program) noKey(err error, u client.Account) error {
	return p.instead(err, latchkey.ErrNotFound, "latchkey user show "+p.alias+" "+clean(u.Name))
}

func (p *program) invite() *cobra.Command {
	var role, expires string
	var life time.Duration
	c := p.remote(&cobra.Command{
		Use:   "invite ALIAS USER",
		Short: "Print a pairing URL by which one client becomes USER, once",
		Long: `Print an invitation, alone on one line; a terminal shows it as a QR code as well.
Whoever pairs with it first becomes USER, from anywhere if the device has a
basestation, while the pairing mode invite is open. It holds a password, so show
it to nobody else.`,
		Example: "  latchkey invite home bob --role user --expires 24h",
	}, 1, func(c *cobra.Command, conn *client.Conn, args []string) error {
		made, err := conn.Invite(c.Context(), args[0], role, life)
		if err != nil {
			return p.taken(p.noRole(err), "latchkey user list "+p.alias+", and choose a name that is free")
		}
		if !made.Open {
			p.Hint("on the device: latchkeyd pairing open invite, for the invitation works only while that mode is open")
		}
		return p.printInvitation(made)
	})
	beforehand(c, func() (err error) {
		if expires != "" {
			life, err = parseLife("--expires", expires)
		}
		return err
	})
	c.Flags().StringVar(&role, "role", "", "`ROLE` of the user (default guest)")
	c.Flags().StringVar(&expires, "expires", "", "`DURATION` that the invitation holds, such as 24h (default the device's)")
	cli.CompleteFlag(c, "role", roles)
	return c
}

// printInvitation shows a secret to the one person it is for.
func (p *program) printInvitation(i client.Invitation) error {
	url := i.URL.Reveal()
	v := struct {
		URL     string    `json:"url"`
		ID      string    `json:"id"`
		User    string    `json:"user"`
		Role    string    `json:"role"`
		Expires time.Time `json:"expires"`
		Open    bool      `json:"open"`
		Running bool      `json:"running"`
	}{url, i.ID, i.User, i.Role, i.Expires, i.Open, true}
	if err := p.PrintLine(v, url); err != nil || p.JSON || !p.OutTerminal() {
		return err
	}
	return cli.WriteQR(p.Out, url, true)
}

func (p *program) name() *cobra.Command {
	return p.remote(&cobra.Command{
		Use:   "name ALIAS NAME",
		Short: "Give a device another friendly name, for all who find it",
		Long: `Give a device another friendly name, which discovery shows. The alias by which
it is known here is yours alone and stays.`,
	}, 1, func(c *cobra.Command, conn *client.Conn, args []string) error {
		if err := conn.SetName(c.Context(), args[0]); err != nil {
			return err
		}
		return p.PrintLine(map[string]string{"name": args[0]}, "the device's name is "+clean(args[0]))
	})
}
