package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

func (p *program) netcheck() *cobra.Command {
	var key string
	c := &cobra.Command{
		Use:   "netcheck [ALIAS|HOST:PORT]",
		Short: "Say which ways to a basestation and to devices this network leaves",
		Long: `Look at this network by way of a basestation: whether UDP and TLS reach it, also
through the proxy of HTTPS_PROXY, how long round trips take, which address it
sees, and what can be told of a NAT. The basestation is that of a known device,
or HOST:PORT with --key. Without an argument it is that of the known devices, if
there is one.

One address of a basestation shows one mapping of a NAT. Whether other targets
get another one takes a second address of it to tell.`,
		Example: `  latchkey netcheck home
  latchkey netcheck 203.0.113.5:5684 --key FINGERPRINT`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			addrs, fp, err := p.station(args, key)
			if err != nil {
				return err
			}
			cl, err := p.client()
			if err != nil {
				return err
			}
			defer cl.Close()
			n, err := cl.Netcheck(c.Context(), addrs, fp)
			if err != nil {
				return err
			}
			if err := p.Print(n, netcheckTable(n)); err != nil {
				return err
			}
			if n.Transport == "" {
				return cli.WithNext(fmt.Errorf("basestation %s cannot be reached", strings.Join(addrs, ", ")),
					"compare its address and key with those at its operator's, and check that it runs")
			}
			return nil
		},
	}
	c.Flags().StringVar(&key, "key", "", "`FINGERPRINT` of the basestation at HOST:PORT")
	return cli.CompleteArgs(p.JSONFlag(c), p.aliases)
}

// station finds the basestation that the arguments mean.
func (p *program) station(args []string, key string) ([]string, latchkey.Fingerprint, error) {
	if len(args) > 0 && strings.Contains(args[0], ":") {
		if key == "" {
			return nil, latchkey.Fingerprint{}, cli.Usage("HOST:PORT goes with --key FINGERPRINT")
		}
		fp, err := parseFingerprint(key)
		return args, fp, err
	}
	if key != "" {
		return nil, latchkey.Fingerprint{}, cli.Usage("--key goes with HOST:PORT")
	}
	var dev client.Device
	err := p.known(func(known *client.Known) (err error) {
		if len(args) > 0 {
			p.alias = args[0]
			dev, err = known.Lookup(args[0])
			return err
		}
		dev, err = only(known.List())
		return err
	})
	if err == nil && len(dev.Basestations) == 0 {
		err = fmt.Errorf("%s: %w", dev.Alias, client.ErrNoBasestation)
	}
	return dev.Basestations, dev.BasestationKey, err
}

// only returns a device of the one basestation that the known devices have.
func only(list []client.Device) (client.Device, error) {
	list = slices.DeleteFunc(list, func(d client.Device) bool { return len(d.Basestations) == 0 })
	for _, d := range list {
		if d.BasestationKey != list[0].BasestationKey {
			return client.Device{}, cli.Usage("the known devices have several basestations: which device is it about?")
		}
	}
	if len(list) == 0 {
		return client.Device{}, cli.WithNext(fmt.Errorf("no known device has a basestation"), "latchkey netcheck HOST:PORT --key FINGERPRINT")
	}
	return list[0], nil
}

func netcheckTable(n *client.Netcheck) cli.Table {
	var t cli.Table
	t.Add("basestation", strings.Join(n.Basestation, ", "))
	t.Add("udp", reachText(n.UDP))
	t.Add("tls", reachText(n.TLS))
	addFamily(&t, "ipv4", n.IPv4)
	addFamily(&t, "ipv6", n.IPv6)
	needs := map[string]string{
		"udp": "nothing: UDP works",
		"tls": "TLS on one TCP port, since UDP does not get through",
		"":    "another way, since the basestation is reached neither by UDP nor by TLS",
	}[n.Transport]
	if n.Transport == "tls" && n.TLS.Proxy != "" {
		needs = "TLS through the proxy " + n.TLS.Proxy + ", since UDP does not get through"
	}
	t.Add("this network needs", needs)
	if n.Direct == "" {
		return t
	}
	t.Add("direct paths", map[string]string{
		"likely":  "likely",
		"some":    "to devices whose NAT keeps one mapping; to others through the relay",
		"unknown": "possible; one address of the basestation cannot tell how likely",
		"no":      "none; everything goes through the relay",
	}[n.Direct])
	return t
}

func reachText(r client.Reach) string {
	where := "at " + r.Addr.String()
	if r.Proxy != "" {
		where = "through the proxy " + r.Proxy
	}
	if !r.OK {
		if r.Proxy != "" {
			return "not reached " + where + ": " + cli.Cause(errors.New(r.Error))
		}
		return "not reached: " + cli.Cause(errors.New(r.Error))
	}
	return fmt.Sprintf("reached %s, round trip %.3f ms", where, r.Milliseconds)
}

func addFamily(t *cli.Table, name string, f client.Family) {
	if f.Error != "" {
		t.Add(name, "none: "+f.Error)
		return
	}
	seen := fmt.Sprintf("seen as %s, round trip %.3f ms", f.Mapped, f.Milliseconds)
	if !f.Stable {
		seen += ", but the next request as another address"
	}
	t.Add(name, seen)
	if f.Mapping == client.MappingNone {
		t.Add(name+" NAT", "none")
		return
	}
	port := "changes the port"
	if f.PortKept {
		port = "keeps the port"
	}
	t.Add(name+" NAT", port+"; "+map[string]string{
		client.MappingSame:      "one mapping for all targets",
		client.MappingPerTarget: "another mapping for each target",
		client.MappingUnknown:   "whether other targets get another mapping, one address of the basestation cannot tell",
	}[f.Mapping])
	t.Add(name+" filtering", map[string]string{
		client.FilteringPeers:   "only who was sent to may send",
		client.FilteringUnknown: "whether strangers may send, one address of the basestation cannot tell",
	}[f.Filtering])
	hairpin := "does not work"
	if f.Hairpin {
		hairpin = "works"
	}
	t.Add(name+" hairpin", hairpin)
}
