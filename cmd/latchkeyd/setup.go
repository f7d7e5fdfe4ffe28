package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

func (p *program) init() *cobra.Command {
	var s daemon.Setup
	c := &cobra.Command{
		Use:   "init",
		Short: "Make key, configuration and access store in --dir",
		Long: `Make key.pem, latchkeyd.yaml and access.db in --dir, and print the device's
fingerprint and pairing URL. Nothing is overwritten.`,
		Example: "  latchkeyd init --service ssh=tcp://127.0.0.1:22 --pairing local-initial",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s.Dir = p.dir
			made, err := daemon.Init(s)
			if err != nil {
				return err
			}
			t := cli.Table{}
			t.Add("fingerprint", made.Fingerprint.String())
			t.Add("pairing URL", made.PairingURL)
			return p.Print(made, t)
		},
	}
	f := c.Flags()
	f.StringVar(&s.Product, "product", "", "first half of the id, `PRODUCT`/DEVICE (default local)")
	f.StringVar(&s.Device, "device", "", "second half of the id, PRODUCT/`DEVICE` (default part of the key)")
	f.StringVar(&s.Name, "name", "", "`NAME` for people")
	f.StringVar(&s.Listen, "listen", ":5690", "UDP address, `[HOST]:PORT`")
	f.StringArrayVar(&s.Basestations, "basestation", nil, "`HOST:PORT` of the basestation where clients of other networks meet the device; repeatable")
	f.StringVar(&s.BasestationKey, "basestation-key", "", "`FINGERPRINT` of the basestation, as latchkey-basestation fingerprint prints it")
	f.StringArrayVar(&s.Services, "service", nil, "`NAME=TARGET` with tcp://HOST:PORT, udp://HOST:PORT or unix:///PATH; repeatable")
	f.StringArrayVar(&s.Pairing, "pairing", nil, "pairing `MODE` that is open from the start, such as local-initial or invite; repeatable")
	cli.CompleteFlag(c, "pairing", modes)
	c.MarkFlagsRequiredTogether("product", "device")
	c.MarkFlagsRequiredTogether("basestation", "basestation-key")
	return p.JSONFlag(c)
}

func (p *program) run() *cobra.Command {
	return p.JSONFlag(&cobra.Command{
		Use:   "run",
		Short: "Serve until SIGTERM or SIGINT",
		Long: `Serve until SIGTERM or SIGINT. One line on stdout says when: "ready" or, with
--json, {"listen": ..., "fingerprint": ...}. The log goes to stderr. SIGHUP
reloads latchkeyd.yaml without losing a session; with no addresses of a
basestation left in it, the device is reached on its own network only.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP)
			defer signal.Stop(reload)
			o := daemon.Options{Dir: p.dir, Log: p.Logger(), Level: &p.Level, Reload: reload}
			if p.LevelGiven() {
				o.Level = nil // the flag outranks the configuration
			}
			o.Ready = func(r daemon.Ready) {
				if err := p.PrintLine(r, "ready"); err != nil {
					o.Log.Warn("say ready", "err", err)
				}
			}
			return daemon.Run(c.Context(), o)
		},
	})
}
