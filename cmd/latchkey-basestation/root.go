package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/station"
)

// defaultDir is where the basestation keeps its files unless --dir says
// otherwise.
const defaultDir = "/var/lib/latchkey-basestation"

// A program is the tree of commands and the flags that they share.
type program struct {
	*cli.App
	dir string
}

func root(app *cli.App) *cobra.Command {
	p := &program{App: app}
	c := &cobra.Command{
		Use:   "latchkey-basestation",
		Short: "Introduce clients to devices behind NAT, and relay where nothing else works",
		Long: `latchkey-basestation introduces clients to the devices that its registry lists,
and relays for those whose networks leave no other way. What they say to each
other is encrypted from end to end.

Set it up with "latchkey-basestation init", start it with "latchkey-basestation
run", and add devices with "latchkey-basestation device add".`,
	}
	c.PersistentFlags().StringVar(&p.dir, "dir", defaultDir, "`DIR` of key, configuration and registry")
	_ = c.MarkPersistentFlagDirname("dir") // the flag exists
	c.AddCommand(
		p.init(), p.run(), p.fingerprint(), p.status(), p.device(), p.token(), p.event(), cli.ManCommand(),
	)
	return c
}

// control runs f with the running basestation, or its files when none runs.
func (p *program) control(c *cobra.Command, f func(*station.Control) error) error {
	control, err := station.OpenControl(c.Context(), p.dir)
	if err != nil {
		return err
	}
	return errors.Join(f(control), control.Close())
}

func parseFingerprint(s string) (latchkey.Fingerprint, error) {
	fp, err := latchkey.ParseFingerprint(s)
	if err != nil {
		return fp, cli.Usage("%w", err)
	}
	return fp, nil
}

func parseID(s string) (latchkey.DeviceID, error) {
	id, err := latchkey.ParseDeviceID(s)
	if err != nil {
		return id, cli.Usage("%w", err)
	}
	return id, nil
}
