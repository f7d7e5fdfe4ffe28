package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

const forceText = "also when the device is left without an administrator"

func (p *program) user() *cobra.Command {
	c := &cobra.Command{Use: "user", Short: "Administer users"}
	c.AddCommand(p.userList(), p.userShow(), p.userAdd(), p.userRemove(), p.userRole())
	return c
}

func (p *program) userList() *cobra.Command {
	return p.JSONFlag(&cobra.Command{
		Use:   "list",
		Short: "List users",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.control(c, func(control *daemon.Control) error {
				users, err := control.Users(c.Context())
				if err != nil {
					return err
				}
				t := cli.Table{Heading: []string{"user", "role", "keys", "added"}}
				for _, u := range users {
					t.Add(u.Name, u.Role, fmt.Sprint(len(u.Keys)), u.Added.Format(time.RFC3339))
				}
				return p.Print(users, t)
			})
		},
	})
}

func (p *program) userShow() *cobra.Command {
	return cli.CompleteArgs(p.JSONFlag(&cobra.Command{
		Use:   "show NAME",
		Short: "Show a user and its keys",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.control(c, func(control *daemon.Control) error {
				u, err := control.User(c.Context(), args[0])
				if err != nil {
					return err
				}
				return p.printUser(u)
			})
		},
	}), p.userNames())
}

func (p *program) printUser(u daemon.User) error {
	var t cli.Table
	t.Add("user", u.Name)
	t.Add("role", u.Role)
	t.Add("added", u.Added.Format(time.RFC3339))
	for _, k := range u.Keys {
		t.Add("key", fmt.Sprintf("%s %q, %s, %s", k.Fingerprint, k.Name, k.Origin, k.Added.Format(time.RFC3339)))
	}
	return p.Print(u, t)
}

func (p *program) userAdd() *cobra.Command {
	var u daemon.NewUser
	var key string
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user, or a key to a user",
		Long: `Add a user with the role given, or a further key to a user that is there. On the
client "latchkey fingerprint" prints what goes after --key.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			u.Name = args[0]
			if key != "" {
				fp, err := parseFingerprint(key)
				if err != nil {
					return err
				}
				u.Key = &fp
			}
			return p.control(c, func(control *daemon.Control) error {
				made, err := control.AddUser(c.Context(), u)
				if err != nil {
					return err
				}
				if len(made.Keys) == 0 {
					p.Hint("on " + made.Name + "'s machine, latchkey fingerprint; here, latchkeyd user add " + made.Name + " --key with what that prints")
				}
				return p.printUser(made)
			})
		},
	}
	c.Flags().StringVar(&key, "key", "", "`FINGERPRINT` of the user's key")
	c.Flags().StringVar(&u.KeyName, "key-name", "", "`NAME` for the key, such as laptop")
	c.Flags().StringVar(&u.Role, "role", "", "`ROLE` (default "+daemon.DefaultRole+")")
	cli.CompleteFlag(c, "role", p.roles())
	return cli.CompleteArgs(p.JSONFlag(c), p.userNames())
}

func parseFingerprint(s string) (latchkey.Fingerprint, error) {
	fp, err := latchkey.ParseFingerprint(s)
	if err != nil {
		return fp, cli.Usage("%w", err)
	}
	return fp, nil
}

func (p *program) userRemove() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a user and all its keys; its sessions end at once",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.control(c, func(control *daemon.Control) error {
				return control.RemoveUser(c.Context(), args[0], force)
			})
		},
	}
	c.Flags().BoolVar(&force, "force", false, forceText)
	return cli.CompleteArgs(c, p.userNames())
}

func (p *program) userRole() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "role NAME ROLE",
		Short: "Give a user another role",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return p.control(c, func(control *daemon.Control) error {
				return control.SetRole(c.Context(), args[0], args[1], force)
			})
		},
	}
	c.Flags().BoolVar(&force, "force", false, forceText)
	return cli.CompleteArgs(c, p.userNames(), p.roles())
}

func (p *program) key() *cobra.Command {
	var force bool
	remove := &cobra.Command{
		Use:   "remove FINGERPRINT",
		Short: "Remove one key of a user; its sessions end at once",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			fp, err := parseFingerprint(args[0])
			if err != nil {
				return err
			}
			return p.control(c, func(control *daemon.Control) error {
				return control.RemoveKey(c.Context(), fp, force)
			})
		},
	}
	remove.Flags().BoolVar(&force, "force", false, forceText)
	cli.CompleteArgs(remove, p.keys())
	c := &cobra.Command{Use: "key", Short: "Administer keys"}
	c.AddCommand(remove)
	return c
}
