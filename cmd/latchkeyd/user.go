package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

// A deed is what a command does with the daemon or the files.
type deed func(context.Context, *daemon.Control, []string) error

// command makes a command of a deed.
func (p *program) command(c *cobra.Command, args cobra.PositionalArgs, run deed) *cobra.Command {
	c.Args = args
	c.RunE = func(c *cobra.Command, args []string) error {
		return p.control(c, func(control *daemon.Control) error { return run(c.Context(), control, args) })
	}
	return p.JSONFlag(c)
}

// terms adds the flags that say on which terms a change is made.
func terms(c *cobra.Command, t *daemon.Terms, force bool) *cobra.Command {
	c.Flags().StringVar(&t.Version, "if-version", "", "only if nobody has changed it since it had this `VERSION`, which show and list print with --json")
	if force {
		c.Flags().BoolVar(&t.Force, "force", false, "also when the device is left without an administrator")
	}
	return c
}

func (p *program) user() *cobra.Command {
	c := &cobra.Command{Use: "user", Short: "Administer users"}
	c.AddCommand(p.userList(), p.userShow(), p.userAdd(), p.userRemove(), p.userRename(), p.userRole(), p.userExpire(), p.userPolicies())
	return c
}

func (p *program) userList() *cobra.Command {
	return p.command(&cobra.Command{Use: "list", Short: "List users"}, cobra.NoArgs,
		func(ctx context.Context, control *daemon.Control, _ []string) error {
			users, err := control.Users(ctx)
			if err != nil {
				return err
			}
			t := cli.Table{Heading: []string{"user", "role", "keys", "added", "expires"}}
			for _, u := range users {
				t.Add(u.Name, u.Role, fmt.Sprint(len(u.Keys)), cli.Stamp(u.Added), cli.Stamp(u.Expires))
			}
			return p.Print(users, t)
		})
}

func (p *program) userShow() *cobra.Command {
	c := p.command(&cobra.Command{Use: "show NAME", Short: "Show a user and its keys"}, cobra.ExactArgs(1),
		func(ctx context.Context, control *daemon.Control, args []string) error {
			return p.printUser(control.User(ctx, args[0]))
		})
	return cli.CompleteArgs(c, p.userNames())
}

// printUser shows what a command was answered.
func (p *program) printUser(u acl.Account, err error) error {
	if err != nil {
		return err
	}
	var t cli.Table
	t.Add("user", u.Name)
	t.Add("role", u.Role)
	for _, policy := range u.Policies {
		t.Add("policy", policy)
	}
	t.Add("added", cli.Stamp(u.Added))
	t.Add("expires", cli.Stamp(u.Expires))
	for _, k := range u.Keys {
		text := fmt.Sprintf("%s %q, %s, %s", k.Fingerprint, k.Name, k.Origin, cli.Stamp(k.Added))
		if !k.Expires.IsZero() {
			text += ", expires " + cli.Stamp(k.Expires)
		}
		if len(k.Policies) > 0 {
			text += ", policies " + strings.Join(k.Policies, ", ")
		}
		t.Add("key", text)
	}
	return p.Print(u, t)
}

func (p *program) userAdd() *cobra.Command {
	var u daemon.NewUser
	var key, expires string
	c := p.command(&cobra.Command{
		Use:   "add NAME",
		Short: "Add a user, or a key to a user",
		Long: `Add a user with the role given, or a further key to a user that is there. On the
client "latchkey fingerprint" prints what goes after --key. Who is not near can be
invited instead, see "latchkeyd invite".`,
		Example: "  latchkeyd user add bob --role user --key FINGERPRINT --expires 30d",
	}, cobra.ExactArgs(1), func(ctx context.Context, control *daemon.Control, args []string) error {
		made, err := control.AddUser(ctx, u)
		if err == nil && len(made.Keys) == 0 {
			p.Hint("on " + made.Name + "'s machine, latchkey fingerprint; here, latchkeyd user add " + made.Name + " --key with what that prints")
		}
		return p.printUser(made, err)
	})
	p.first(c, func(args []string) (err error) {
		u.Name = args[0]
		if u.Expires, err = cli.ParseWhen("--expires", expires); err != nil || key == "" {
			return err
		}
		u.Key = new(latchkey.Fingerprint)
		*u.Key, err = parseFingerprint(key)
		return err
	})
	c.Flags().StringVar(&key, "key", "", "`FINGERPRINT` of the user's key")
	c.Flags().StringVar(&u.KeyName, "key-name", "", "`NAME` for the key, such as laptop")
	c.Flags().StringVar(&u.Role, "role", "", "`ROLE` (default "+daemon.DefaultRole+")")
	c.Flags().StringVar(&expires, "expires", "", "end of all access: "+cli.WhenText)
	cli.CompleteFlag(c, "role", p.roleNames())
	return cli.CompleteArgs(c, p.userNames())
}

// first makes c check its arguments and flags before it opens anything.
func (p *program) first(c *cobra.Command, check func(args []string) error) {
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := check(args); err != nil {
			return err
		}
		return run(c, args)
	}
}

func parseFingerprint(s string) (latchkey.Fingerprint, error) {
	fp, err := latchkey.ParseFingerprint(s)
	if err != nil {
		return fp, cli.Usage("%w", err)
	}
	return fp, nil
}

func (p *program) userRemove() *cobra.Command {
	var t daemon.Terms
	c := p.command(&cobra.Command{Use: "remove NAME", Short: "Remove a user and all its keys; its sessions end at once"}, cobra.ExactArgs(1),
		func(ctx context.Context, control *daemon.Control, args []string) error {
			if err := control.RemoveUser(ctx, args[0], t); err != nil || !p.JSON {
				return err
			}
			return p.PrintJSON(map[string]string{"user": args[0]})
		})
	return cli.CompleteArgs(terms(c, &t, true), p.userNames())
}

func (p *program) userRename() *cobra.Command {
	var t daemon.Terms
	c := p.command(&cobra.Command{Use: "rename NAME NEW", Short: "Give a user another name; its keys and invitations follow"}, cobra.ExactArgs(2),
		func(ctx context.Context, control *daemon.Control, args []string) error {
			return p.printUser(control.Rename(ctx, args[0], args[1], t))
		})
	return cli.CompleteArgs(terms(c, &t, false), p.userNames())
}

func (p *program) userRole() *cobra.Command {
	var t daemon.Terms
	c := p.command(&cobra.Command{Use: "role NAME ROLE", Short: "Give a user another role"}, cobra.ExactArgs(2),
		func(ctx context.Context, control *daemon.Control, args []string) error {
			return p.printUser(control.SetRole(ctx, args[0], args[1], t))
		})
	return cli.CompleteArgs(terms(c, &t, true), p.userNames(), p.roleNames())
}

func (p *program) userExpire() *cobra.Command {
	var t daemon.Terms
	c := p.command(&cobra.Command{
		Use:     "expire NAME WHEN",
		Short:   "Say when all access of a user ends",
		Long:    "Say when all access of a user ends.\n" + cli.WhenArg,
		Example: "  latchkeyd user expire bob 30d",
	}, cobra.ExactArgs(2), func(ctx context.Context, control *daemon.Control, args []string) error {
		when, err := cli.ParseWhen("WHEN", args[1])
		if err != nil {
			return err
		}
		return p.printUser(control.SetExpiry(ctx, args[0], when, t))
	})
	return cli.CompleteArgs(terms(c, &t, true), p.userNames(), cli.Choices("never"))
}

func (p *program) userPolicies() *cobra.Command {
	var t daemon.Terms
	var none bool
	c := p.command(&cobra.Command{
		Use:     "policies NAME [POLICY]...",
		Short:   "Say which policies hold for a user beside those of its role",
		Example: "  latchkeyd user policies bob evenings\n  latchkeyd user policies bob --none",
	}, cobra.MinimumNArgs(1), func(ctx context.Context, control *daemon.Control, args []string) error {
		return p.printUser(control.SetPolicies(ctx, args[0], args[1:], t))
	})
	p.first(c, func(args []string) error {
		return someOrNone(args[1:], none)
	})
	c.Flags().BoolVar(&none, "none", false, "no policies but those of the role")
	return cli.CompleteArgs(terms(c, &t, true), p.attaching(p.userNames())...)
}

// someOrNone checks that no policies are meant when none are given.
func someOrNone(policies []string, none bool) error {
	if none == (len(policies) > 0) {
		return cli.Usage("give either policies or --none")
	}
	return nil
}

// attaching offers what policies are attached to, and then policies.
func (p *program) attaching(to cli.Choice) []cli.Choice {
	return append([]cli.Choice{to}, slices.Repeat([]cli.Choice{p.policyNames()}, acl.MaxAttached)...)
}
