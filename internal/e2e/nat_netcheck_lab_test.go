//go:build lab

package e2e

import (
	"testing"

	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/netlab/world"
)

// TestNetcheckBehindNATs has netcheck look at each kind of NAT, by way of a
// basestation with one address.
func TestNetcheckBehindNATs(t *testing.T) {
	for kind, want := range map[world.Kind]client.Netcheck{
		world.None:           {Transport: "udp", Direct: "likely", IPv4: client.Family{Mapping: client.MappingNone}},
		world.FullCone:       {Transport: "udp", Direct: "unknown", IPv4: client.Family{Mapping: client.MappingUnknown, Hairpin: true, Filtering: client.FilteringUnknown}},
		world.PortRestricted: {Transport: "udp", Direct: "unknown", IPv4: client.Family{Mapping: client.MappingUnknown, Hairpin: true, Filtering: client.FilteringUnknown}},
		world.Symmetric:      {Transport: "udp", Direct: "unknown", IPv4: client.Family{Mapping: client.MappingUnknown, Filtering: client.FilteringUnknown}},
		world.UDPBlocked:     {Transport: "tls", Direct: "no"},
	} {
		t.Run(kind.String(), func(t *testing.T) {
			r := newRig(t, world.Config{Sites: []world.SiteConfig{{Kind: kind}, {Kind: world.None}}})
			var got client.Netcheck
			r.must("netcheck", nil, &got)
			t.Logf("%+v", got)
			if got.Transport != want.Transport || got.Direct != want.Direct || !got.TLS.OK || got.UDP.OK != (want.Transport == "udp") {
				t.Errorf("transport %q, direct paths %q, want %q, %q", got.Transport, got.Direct, want.Transport, want.Direct)
			}
			if got.IPv4.Mapping != want.IPv4.Mapping {
				t.Errorf("mapping %q, want %q", got.IPv4.Mapping, want.IPv4.Mapping)
			}
			if kind == world.None || kind == world.UDPBlocked {
				return // there is nothing to filter
			}
			if got.IPv4.Hairpin != want.IPv4.Hairpin || got.IPv4.Filtering != want.IPv4.Filtering {
				t.Errorf("hairpin %v, filtering %q, want %v, %q", got.IPv4.Hairpin, got.IPv4.Filtering, want.IPv4.Hairpin, want.IPv4.Filtering)
			}
		})
	}
}
