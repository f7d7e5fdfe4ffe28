package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/internal/station"
)

func (p *program) event() *cobra.Command {
	c := &cobra.Command{Use: "event", Short: "See what happens"}
	c.AddCommand(p.eventTail())
	return c
}

func (p *program) eventTail() *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use:   "tail",
		Short: "Print the latest events of the running basestation, one on each line",
		Long: `Print the latest events of the running basestation, at most 1024, one on each
line; with --json each is a JSON document. Their numbers are consecutive: a gap
means that some were missed.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.control(c, func(control *station.Control) error {
				if follow {
					return control.Follow(c.Context(), p.printEvent)
				}
				list, err := control.Events(c.Context())
				for _, e := range list {
					if err := p.printEvent(e); err != nil {
						return err
					}
				}
				return err
			})
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "print events as they happen, until interrupted")
	return p.JSONFlag(c)
}

func (p *program) printEvent(e basestation.Event) error {
	parts := []string{e.Time.Format(time.RFC3339), string(e.Kind)}
	if e.Device != (latchkey.DeviceID{}) {
		parts = append(parts, e.Device.String())
	}
	parts = append(parts, peer("", e.Key, e.Source)...)
	parts = append(parts, peer("instead of ", e.OtherKey, e.OtherSource)...)
	if e.Reason != "" {
		parts = append(parts, e.Reason)
	}
	if e.Suppressed > 0 {
		parts = append(parts, fmt.Sprintf("%d more before", e.Suppressed))
	}
	return p.PrintLine(e, strings.Join(parts, "\t"))
}

func peer(before string, key latchkey.Fingerprint, source netip.AddrPort) []string {
	var words []string
	if !key.IsZero() {
		words = append(words, "key "+key.Short())
	}
	if source.IsValid() {
		words = append(words, "from "+source.String())
	}
	if len(words) == 0 {
		return nil
	}
	return []string{before + strings.Join(words, " ")}
}
