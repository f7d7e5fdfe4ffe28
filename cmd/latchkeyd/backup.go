package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

func (p *program) backup() *cobra.Command {
	var force bool
	c := cli.CompleteFiles(&cobra.Command{
		Use:   "backup FILE",
		Short: "Write users, keys, roles, policies and settings to a file",
		Long: `Write users, keys, roles, policies and settings to a private file, or to stdout
with -. The device's own key, its configuration, invitations and the audit log are
not in it. It holds the secret behind connect tokens: keep it as private as key.pem.`,
		Example: "  latchkeyd backup access-2027-01-31.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.control(c, func(control *daemon.Control) error {
				text, err := control.Backup(c.Context())
				if err != nil {
					return err
				}
				if args[0] == "-" {
					_, err := p.Out.Write(text)
					return err
				}
				return daemon.WriteBackup(args[0], text, force)
			})
		},
	})
	c.Flags().BoolVar(&force, "force", false, "replace the file if it is there")
	return c
}

func (p *program) restore() *cobra.Command {
	return p.JSONFlag(cli.CompleteFiles(&cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in the place of users, keys, roles, policies and settings",
		Long: `Put a backup, or stdin with -, in the place of all users, keys, roles, policies and
settings, in one change. Keys that were removed here since the backup stay out,
invitations are void, and all pairing modes of a running daemon are closed.

While no daemon runs it also makes a new access.db when that is missing, or damaged:
the damaged file is renamed to access.db.damaged-TIME, and its list of removed keys
goes on to hold as far as it can be read. The device keeps its own key. Without a
backup of the device, one of a new directory that latchkeyd init made will do.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			text, err := p.readFile(args[0], acl.MaxFile)
			if err != nil {
				return err
			}
			back, err := daemon.Restore(c.Context(), p.dir, text)
			if err != nil {
				return err
			}
			return p.printRestored(back)
		},
	}))
}

func (p *program) printRestored(back daemon.Restored) error {
	var t cli.Table
	where := "the running daemon, whose pairing modes are closed now"
	if !back.Running {
		where = "the files, since no daemon runs; what " + daemon.ConfigFile + " opens is open when one starts"
	}
	t.Add("restored to", where)
	t.Add("users", fmt.Sprintf("%d, keys %d", back.Users, back.Keys))
	t.Add("roles", fmt.Sprintf("%d, policies %d", back.Roles, back.Policies))
	t.Add("settings", fmt.Sprint(back.Settings))
	if r := back.Rebuilt; r != nil {
		t.Add("removed keys", fmt.Sprintf("%d remembered", r.Removed))
		if r.Aside != "" {
			t.Add("damaged file", r.Aside)
		}
		if r.Forgotten {
			p.Note("", errors.New("keys that were removed since the backup are not all remembered any more, and may be back"))
			p.Hint("latchkeyd user list --dir " + p.dir + ", and latchkeyd key remove FINGERPRINT for those that should not be there")
		}
	}
	if back.Ownerless {
		p.ownerless()
	}
	for _, key := range back.Revoked {
		t.Add("stays revoked", key.String())
	}
	return p.Print(back, t)
}

// ownerless says that nobody can administer the device from afar, and what to do.
func (p *program) ownerless() {
	p.Note("", errors.New("no administrator has a key now"))
	p.Hint("latchkeyd user add NAME --role admin --key FINGERPRINT, or latchkeyd key add NAME FINGERPRINT for who is there; " +
		"or, while the daemon runs, latchkeyd pairing open local-initial")
}
