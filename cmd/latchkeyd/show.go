package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

func (p *program) fingerprint() *cobra.Command {
	return p.JSONFlag(&cobra.Command{
		Use:   "fingerprint",
		Short: "Print the fingerprint of the device's key",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			id, err := daemon.OpenIdentity(p.dir)
			if err != nil {
				return err
			}
			text := id.Fingerprint().String()
			return p.PrintLine(map[string]string{"fingerprint": text}, text)
		},
	})
}

func (p *program) pairingURL() *cobra.Command {
	var draw bool
	c := &cobra.Command{
		Use:   "pairing-url",
		Short: "Print the URL that a client pairs with",
		Long: `Print the URL that a client pairs with, alone on one line. A terminal shows it
as a QR code as well, and so does --qr anywhere.

With a basestation the URL has a fresh connect token each time. It lets whoever
holds the URL through the basestation, ten times within 24 hours and until a
first owner has paired: show it to the one person it is for.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.control(c, func(control *daemon.Control) error {
				url, err := control.PairingURL(c.Context())
				if err != nil {
					return err
				}
				if err := p.PrintLine(map[string]string{"url": url}, url); err != nil || p.JSON {
					return err
				}
				if draw || p.OutTerminal() && !c.Flags().Changed("qr") {
					return cli.WriteQR(p.Out, url, p.OutTerminal())
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&draw, "qr", false, "draw a QR code as well")
	return p.JSONFlag(c)
}

func (p *program) status() *cobra.Command {
	return p.JSONFlag(&cobra.Command{
		Use:   "status",
		Short: "Show what the daemon does",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.control(c, func(control *daemon.Control) error {
				st, err := control.Status(c.Context())
				if err != nil {
					return err
				}
				return p.Print(st, statusTable(st))
			})
		},
	})
}

func statusTable(st daemon.Status) cli.Table {
	var t cli.Table
	state := "stopped"
	if st.Running {
		state = fmt.Sprintf("running, process %d, since %s", st.PID, st.Since.Format(time.RFC3339))
	}
	t.Add("state", state)
	t.Add("device", st.ID.String())
	t.Add("name", st.Name)
	t.Add("fingerprint", st.Fingerprint.String())
	t.Add("listen", st.Listen)
	t.Add("basestation", attached(st.Basestation))
	t.Add("pairing", openModes(st.Pairing, st.Running))
	t.Add("users", fmt.Sprintf("%d, keys %d", st.Users, st.Keys))
	for _, s := range st.Services {
		t.Add("service", s.ID+" "+s.Target)
	}
	for _, s := range st.Sessions {
		who := s.User
		if who == "" {
			who = "unpaired"
		}
		t.Add("session", fmt.Sprintf("%s %s from %s, %s, tunnels: %s",
			who, s.Peer.Short(), s.Source, s.Path, orNone(s.Tunnels)))
	}
	return t
}

// attached tells how the device stands with its basestation.
func attached(a daemon.Attachment) string {
	since := a.Since.Format(time.RFC3339)
	switch a.State {
	case "off":
		return "none, reached on its own network only"
	case "attached":
		return fmt.Sprintf("attached to %s by %s since %s, seen there as %s, connect tokens version %d",
			a.Basestation, a.Transport, since, a.Mapped, a.Tokens)
	case "waiting":
		return fmt.Sprintf("%s: not attached since %s: %s", strings.Join(a.Addrs, ", "), since, a.Error)
	}
	return fmt.Sprintf("%s: %s", strings.Join(a.Addrs, ", "), a.State)
}

// openModes tells which modes are open, or will be once a daemon runs.
func openModes(modes []string, running bool) string {
	text := orNone(modes)
	if len(modes) > 0 && !running {
		text += " when started"
	}
	return text
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

func (p *program) services() *cobra.Command {
	return p.JSONFlag(&cobra.Command{
		Use:   "services",
		Short: "List the services that tunnels may lead to",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.control(c, func(control *daemon.Control) error {
				list, err := control.Services(c.Context())
				if err != nil {
					return err
				}
				return p.Print(list, serviceTable(list))
			})
		},
	})
}

func serviceTable(list []device.Service) cli.Table {
	t := cli.Table{Heading: []string{"service", "target"}}
	for _, s := range list {
		t.Add(s.ID, s.Target)
	}
	return t
}
