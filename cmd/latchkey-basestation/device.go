package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/station"
)

func (p *program) device() *cobra.Command {
	c := &cobra.Command{Use: "device", Short: "Say which devices may attach"}
	c.AddCommand(p.deviceAdd(), p.deviceList(), p.deviceShow(), p.deviceRemove())
	return c
}

func (p *program) deviceAdd() *cobra.Command {
	return cli.CompleteArgs(p.JSONFlag(&cobra.Command{
		Use:   "add PRODUCT/DEVICE FINGERPRINT",
		Short: "Let the holder of a key attach as a device",
		Long: `Let the holder of a key attach as a device. "latchkeyd fingerprint" prints the
fingerprint. A device that is there already gets a further key; "device remove"
takes all of them away.`,
		Example: "  latchkey-basestation device add acme/gw1 FINGERPRINT",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			key, err := parseFingerprint(args[1])
			if err != nil {
				return err
			}
			return p.control(c, func(control *station.Control) error {
				d, err := control.AddDevice(c.Context(), id, key)
				if err != nil {
					return err
				}
				return p.Print(d, deviceTable(d))
			})
		},
	}), p.deviceIDs())
}

func (p *program) deviceList() *cobra.Command {
	return p.JSONFlag(&cobra.Command{
		Use:   "list",
		Short: "List the devices and whether they are attached",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.control(c, func(control *station.Control) error {
				list, err := control.Devices(c.Context())
				if err != nil {
					return err
				}
				t := cli.Table{Heading: []string{"device", "keys", "seen", "attached"}}
				for _, d := range list {
					t.Add(d.ID.String(), fmt.Sprint(len(d.Keys)), when(d.Seen), attached(d))
				}
				return p.Print(list, t)
			})
		},
	})
}

func (p *program) deviceShow() *cobra.Command {
	return cli.CompleteArgs(p.JSONFlag(&cobra.Command{
		Use:   "show PRODUCT/DEVICE",
		Short: "Show a device with its keys",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			return p.control(c, func(control *station.Control) error {
				d, err := control.Device(c.Context(), id)
				if err != nil {
					return err
				}
				return p.Print(d, deviceTable(d))
			})
		},
	}), p.deviceIDs())
}

func (p *program) deviceRemove() *cobra.Command {
	return cli.CompleteArgs(&cobra.Command{
		Use:   "remove PRODUCT/DEVICE",
		Short: "Remove a device with its keys and tokens; if it is attached it is cut off",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			return p.control(c, func(control *station.Control) error {
				return control.RemoveDevice(c.Context(), id)
			})
		},
	}, p.deviceIDs())
}

func deviceTable(d station.Device) cli.Table {
	var t cli.Table
	t.Add("device", d.ID.String())
	t.Add("added", when(d.Added))
	t.Add("seen", when(d.Seen))
	t.Add("attached", attached(d))
	for _, k := range d.Keys {
		t.Add("key", fmt.Sprintf("%s %s, %s, %s, added %s", k.Fingerprint, k.Purpose, k.Origin, k.State, when(k.Added)))
	}
	return t
}

func attached(d station.Device) string {
	if d.Attached == nil {
		return "no"
	}
	return fmt.Sprintf("%s by %s since %s", d.Attached.Source, d.Attached.Transport, when(d.Attached.Since))
}

func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.RFC3339)
}
