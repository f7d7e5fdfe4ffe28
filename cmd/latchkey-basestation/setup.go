package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/station"
)

func (p *program) init() *cobra.Command {
	var s station.Setup
	c := &cobra.Command{
		Use:   "init",
		Short: "Make key, configuration and registry in --dir",
		Long: `Make key.pem, basestation.yaml and registry.db in --dir, and print the
basestation's fingerprint, which devices and clients know it by. Nothing is
overwritten.`,
		Example: "  latchkey-basestation init --public-address 203.0.113.5",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s.Dir = p.dir
			made, err := station.Init(s)
			if err != nil {
				return err
			}
			var t cli.Table
			t.Add("fingerprint", made.Fingerprint.String())
			return p.Print(made, t)
		},
	}
	f := c.Flags()
	f.StringVar(&s.Listen, "listen", ":5684", "UDP and TCP address, `[HOST]:PORT`")
	f.StringArrayVar(&s.PublicAddrs, "public-address", nil, "`ADDRESS` where peers send STUN requests: IP or HOST, with :PORT where it differs; repeatable")
	return p.JSONFlag(c)
}

func (p *program) run() *cobra.Command {
	return p.JSONFlag(&cobra.Command{
		Use:   "run",
		Short: "Serve until SIGTERM or SIGINT",
		Long: `Serve until SIGTERM or SIGINT, and then until the peers had their time to move;
a second signal ends at once. One line on stdout says when it serves: "ready" or,
with --json, {"listen": ..., "fingerprint": ...}. The log goes to stderr. SIGHUP
reloads issuers, limits and log_level of basestation.yaml.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP)
			defer signal.Stop(reload)
			o := station.Options{Dir: p.dir, Log: p.Logger(), Level: &p.Level, Reload: reload}
			if p.LevelGiven() {
				o.Level = nil // the flag outranks the configuration
			}
			o.Ready = func(r station.Ready) {
				if err := p.PrintLine(r, "ready"); err != nil {
					o.Log.Warn("say ready", "err", err)
				}
			}
			return station.Run(c.Context(), o)
		},
	})
}

func (p *program) fingerprint() *cobra.Command {
	return p.JSONFlag(&cobra.Command{
		Use:   "fingerprint",
		Short: "Print the fingerprint of the basestation's key",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			id, err := station.OpenIdentity(p.dir)
			if err != nil {
				return err
			}
			text := id.Fingerprint().String()
			return p.PrintLine(map[string]string{"fingerprint": text}, text)
		},
	})
}
