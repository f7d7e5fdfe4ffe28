package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

const forceText = "also when the device is left without an administrator"

// roles are what a shell offers; the device knows which there are.
var roles = cli.Choices("guest", "user", "admin")

// remote makes a command about a known device: its first argument is the alias,
// and it has the flags that say how to get there.
func (p *program) remote(c *cobra.Command, args int, run func(*cobra.Command, *client.Conn, []string) error) *cobra.Command {
	c.Args = cobra.ExactArgs(1 + args)
	c.RunE = func(c *cobra.Command, args []string) error {
		return p.dial(c, args[0], "", func(conn *client.Conn) error { return run(c, conn, args[1:]) })
	}
	return cli.CompleteArgs(p.wayFlags(p.JSONFlag(c)), p.aliases)
}

func (p *program) user() *cobra.Command {
	c := &cobra.Command{Use: "user", Short: "Administer the users of a device from afar"}
	c.AddCommand(p.userList(), p.userShow(), p.userAdd(), p.userRemove(), p.userRename(), p.userRole(), p.userExpire(), p.userPolicies())
	return c
}

func (p *program) userList() *cobra.Command {
	return p.remote(&cobra.Command{Use: "list ALIAS", Short: "List users"}, 0,
		func(c *cobra.Command, conn *client.Conn, _ []string) error {
			users, err := conn.Users(c.Context())
			if err != nil {
				return err
			}
			t := cli.Table{Heading: []string{"user", "role", "keys", "added", "expires"}}
			for _, u := range users {
				t.Add(clean(u.Name), clean(u.Role), fmt.Sprint(len(u.Keys)), stamp(u.Added), stamp(u.Expires))
			}
			return p.Print(users, t)
		})
}

func (p *program) userShow() *cobra.Command {
	return p.remote(&cobra.Command{Use: "show ALIAS USER", Short: "Show a user and its keys"}, 1,
		func(c *cobra.Command, conn *client.Conn, args []string) error {
			u, err := conn.User(c.Context(), args[0])
			if err != nil {
				return p.noUser(err)
			}
			return p.printUser(u)
		})
}

func (p *program) printUser(u client.Account) error {
	var t cli.Table
	t.Add("user", clean(u.Name))
	t.Add("role", clean(u.Role))
	for _, policy := range u.Policies {
		t.Add("policy", clean(policy))
	}
	t.Add("added", stamp(u.Added))
	t.Add("expires", stamp(u.Expires))
	for _, k := range u.Keys {
		text := fmt.Sprintf("%s %q, %s, %s", k.Fingerprint, k.Name, clean(k.Origin), stamp(k.Added))
		if !k.Expires.IsZero() {
			text += ", expires " + stamp(k.Expires)
		}
		if len(k.Policies) > 0 {
			text += ", policies " + cleanAll(k.Policies)
		}
		t.Add("key", text)
	}
	return p.Print(u, t)
}

// stamp writes a time, of which zero is never.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

func (p *program) userAdd() *cobra.Command {
	var u client.NewUser
	var key, expires string
	c := p.remote(&cobra.Command{
		Use:   "add ALIAS USER",
		Short: "Add a user",
		Long: `Add a user. On its machine "latchkey fingerprint" prints what goes after --key;
without a key, or for a further one, see "latchkey key add". Who is not near can
be invited instead, see "latchkey invite".`,
		Example: "  latchkey user add home bob --role user --key FINGERPRINT",
	}, 1, func(c *cobra.Command, conn *client.Conn, args []string) error {
		made, err := conn.AddUser(c.Context(), args[0], u)
		if err != nil {
			return p.inTheWay(c.Context(), conn, p.noRole(err), args[0], u)
		}
		return p.printUser(made)
	})
	beforehand(c, func() (err error) {
		if u.Expires, err = parseWhen("--expires", expires); err == nil && key != "" {
			u.Key, err = parseFingerprint(key)
		}
		return err
	})
	c.Flags().StringVar(&u.Role, "role", "", "`ROLE` (default guest)")
	c.Flags().StringVar(&key, "key", "", "`FINGERPRINT` of the user's key")
	c.Flags().StringVar(&u.KeyName, "key-name", "", "`NAME` for the key, such as laptop")
	c.Flags().StringVar(&expires, "expires", "", "end of all access: "+whenText)
	cli.CompleteFlag(c, "role", roles)
	return c
}

// beforehand makes c check its flags before it dials.
func beforehand(c *cobra.Command, check func() error) {
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := check(); err != nil {
			return err
		}
		return run(c, args)
	}
}

// change makes a command that reads a user first, and changes it only if nobody
// else has meanwhile.
func (p *program) change(c *cobra.Command, args int, force bool, run func(*cobra.Command, *client.Conn, client.Account, client.Terms, []string) error) *cobra.Command {
	var forced bool
	c = p.remote(c, args, func(c *cobra.Command, conn *client.Conn, args []string) error {
		u, err := conn.User(c.Context(), args[0])
		if err != nil {
			return p.noUser(err)
		}
		err = run(c, conn, u, client.Terms{Version: u.Version, Force: forced}, args)
		return p.lastAdmin(err, u, forced)
	})
	if force {
		c.Flags().BoolVar(&forced, "force", false, forceText)
	}
	return c
}

// printChanged shows the user as it is after a change.
func (p *program) printChanged(u client.Account, err error) error {
	if err != nil {
		return err
	}
	return p.printUser(u)
}

func (p *program) userRemove() *cobra.Command {
	return p.change(&cobra.Command{Use: "remove ALIAS USER", Short: "Remove a user and all its keys; its sessions end at once"}, 1, true,
		func(c *cobra.Command, conn *client.Conn, u client.Account, t client.Terms, _ []string) error {
			if err := conn.RemoveUser(c.Context(), u.Name, t); err != nil {
				return err
			}
			return p.PrintLine(u, "removed user "+clean(u.Name)+" with "+count(len(u.Keys), "key"))
		})
}

// count writes a number of things.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

func (p *program) userRename() *cobra.Command {
	return p.change(&cobra.Command{Use: "rename ALIAS USER NAME", Short: "Give a user another name; its keys and invitations follow"}, 2, false,
		func(c *cobra.Command, conn *client.Conn, u client.Account, t client.Terms, args []string) error {
			renamed, err := conn.RenameUser(c.Context(), u.Name, args[1], t)
			if err != nil {
				return p.taken(err, "choose another name")
			}
			return p.printUser(renamed)
		})
}

func (p *program) userRole() *cobra.Command {
	c := p.change(&cobra.Command{Use: "role ALIAS USER ROLE", Short: "Give a user another role"}, 2, true,
		func(c *cobra.Command, conn *client.Conn, u client.Account, t client.Terms, args []string) error {
			changed, err := conn.SetRole(c.Context(), u.Name, args[1], t)
			if err != nil {
				return p.noRole(err)
			}
			return p.printUser(changed)
		})
	return cli.CompleteArgs(c, p.aliases, cli.Choices[string](), roles)
}

func (p *program) userExpire() *cobra.Command {
	var when time.Time
	c := p.change(&cobra.Command{
		Use:     "expire ALIAS USER WHEN",
		Short:   "Say when all access of a user ends",
		Long:    "Say when all access of a user ends.\n" + cli.WhenArg,
		Example: "  latchkey user expire home bob 30d",
	}, 2, true,
		func(c *cobra.Command, conn *client.Conn, u client.Account, t client.Terms, args []string) error {
			return p.printChanged(conn.SetExpiry(c.Context(), u.Name, when, t))
		})
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		if when, err = parseWhen("WHEN", args[2]); err != nil {
			return err
		}
		return run(c, args)
	}
	return cli.CompleteArgs(c, p.aliases, cli.Choices[string](), cli.Choices("never"))
}

func (p *program) userPolicies() *cobra.Command {
	return attaching(p.change(&cobra.Command{
		Use:     "policies ALIAS USER [POLICY]...",
		Short:   "Say which policies hold for a user beside those of its role",
		Example: "  latchkey user policies home bob evenings\n  latchkey user policies home bob --none",
	}, 1, true, func(c *cobra.Command, conn *client.Conn, u client.Account, t client.Terms, args []string) error {
		changed, err := conn.SetPolicies(c.Context(), u.Name, args[1:], t)
		if err != nil {
			return p.instead(err, latchkey.ErrNotFound, "latchkey policy list "+p.alias)
		}
		return p.printUser(changed)
	}), "role")
}

// attaching makes c, whose first two arguments say to what, take policies or
// --none behind them; of says what has others.
func attaching(c *cobra.Command, of string) *cobra.Command {
	var none bool
	c.Args = cobra.MinimumNArgs(2)
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if none == (len(args) > 2) {
			return cli.Usage("give either policies or --none")
		}
		return run(c, args)
	}
	c.Flags().BoolVar(&none, "none", false, "no policies but those of the "+of)
	return c
}
