package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/station"
)

func (p *program) status() *cobra.Command {
	return p.JSONFlag(&cobra.Command{
		Use:   "status",
		Short: "Show what the basestation does",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.control(c, func(control *station.Control) error {
				st, err := control.Status(c.Context())
				if err != nil {
					return err
				}
				return p.Print(st, statusTable(st))
			})
		},
	})
}

func statusTable(st station.Status) cli.Table {
	var t cli.Table
	t.Add("state", state(st))
	t.Add("fingerprint", st.Fingerprint.String())
	t.Add("listen", st.Listen)
	t.Add("public addresses", orNone(st.PublicAddrs))
	t.Add("issuers", orNone(st.Issuers))
	t.Add("devices", fmt.Sprint(st.Devices))
	t.Add("tokens", fmt.Sprint(st.Tokens))
	if s := st.Serving; s != nil {
		t.Add("attached", fmt.Sprint(s.Devices))
		t.Add("peers", fmt.Sprintf("%d, TCP connections %d", s.Peers, s.Streams))
		t.Add("introductions", fmt.Sprintf("%d now, %d done, %d failed, %d waiting", s.Introductions, s.Introduced, s.NotIntroduced, s.Waiting))
		t.Add("refused by the gate", fmt.Sprint(s.Refused))
		if s.RegistryError != "" {
			t.Add("registry", s.RegistryError)
		}
	}
	return t
}

func state(st station.Status) string {
	switch {
	case !st.Running:
		return "stopped"
	case st.Serving == nil:
		return fmt.Sprintf("stopping, process %d", st.PID)
	case st.Serving.Draining:
		return fmt.Sprintf("draining, process %d", st.PID)
	}
	return fmt.Sprintf("running, process %d, since %s", st.PID, st.Serving.Since.Format(time.RFC3339))
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
