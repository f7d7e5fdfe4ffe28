package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
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
	c.AddCommand(
		p.init(), p.run(), p.fingerprint(), p.pairingURL(), p.status(), p.services(), p.reset(),
		p.pairing(), p.user(), p.key(), p.explain(), cli.ManCommand(),
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

// next is the step after an error that names none itself.
func next(err error) string {
	var control *daemon.ControlError
	var config *daemon.ConfigError
	switch {
	case errors.As(err, &control):
		return control.Next
	case errors.As(err, &config):
		return "correct " + config.File
	case errors.Is(err, latchkey.ErrKeyFileMode):
		return "make the file private; nobody else may ever have read it"
	}
	return ""
}
