package main

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

// defaultDir is where the daemon keeps its files unless --dir says otherwise.
const defaultDir = "/var/lib/latchkey"

// A program is the tree of commands and the flags that they share.
type program struct {
	*cli.App
	dir string
}

func root(app *cli.App) *cobra.Command {
	p := &program{App: app}
	c := &cobra.Command{
		Use:   "latchkeyd",
		Short: "Let paired apps reach this device's services, end to end encrypted",
		Long: `latchkeyd lets apps that hold a paired key reach services and CoAP resources
of this device, end to end encrypted. The device decides every operation.

Set it up with "latchkeyd init", start it with "latchkeyd run", and show a client
the URL that "latchkeyd pairing-url" prints.`,
	}
	c.PersistentFlags().StringVar(&p.dir, "dir", defaultDir, "`DIR` of key, configuration and access store")
	_ = c.MarkPersistentFlagDirname("dir") // the flag exists
	c.AddCommand(
		p.init(), p.run(), p.fingerprint(), p.pairingURL(), p.status(), p.services(), p.reset(),
		p.pairing(), p.invite(), p.invites(), p.user(), p.key(), p.role(), p.policy(), p.token(), p.explain(), p.audit(),
		p.name(), p.backup(), p.restore(), cli.ManCommand(),
	)
	return c
}

// control runs f with the running daemon, or its files when none runs.
func (p *program) control(c *cobra.Command, f func(*daemon.Control) error) error {
	control, err := daemon.OpenControl(c.Context(), p.dir)
	if err != nil {
		return err
	}
	return errors.Join(f(control), control.Close())
}

// steps says what an administrator does about an error.
var steps = []struct {
	err  error
	step string
}{
	{latchkey.ErrKeyFileMode, "make it private as shown; if others may have read the key, set the device up anew"},
	{acl.ErrLoose, "make it private as shown, and look through latchkeyd user list"},
	{acl.ErrDamaged, "stop the daemon, and latchkeyd restore FILE with what latchkeyd backup wrote"},
	{acl.ErrInUse, "wait for the other command, or stop the other daemon"},
	{acl.ErrNewer, "install the version of latchkeyd that wrote it"},
	{syscall.EADDRINUSE, "stop what uses the address, or change listen in " + daemon.ConfigFile},
	{fs.ErrPermission, "run it as the user that owns the directory, or as root"},
}

// next is the step after an error that names none itself.
func next(err error) string {
	var policy *acl.PositionError
	if errors.As(err, &policy) {
		return "correct " + policy.File
	}
	for _, s := range steps {
		if errors.Is(err, s.err) {
			return s.step
		}
	}
	return ""
}
