package netlab

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

// read returns what waits at a host.
func read(h *Host) (list []Datagram) {
	for {
		select {
		case d := <-h.queue:
			list = append(list, d)
		default:
			return list
		}
	}
}

func TestNAT(t *testing.T) {
	public := netip.MustParseAddr("203.0.113.1")
	server, sibling := netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddrPort("198.51.100.1:2")
	stranger := netip.MustParseAddrPort("198.51.100.2:1")
	for _, c := range []struct {
		name               string
		mapping, filtering Dependence
		ports              int  // of a host that sends to all three
		sibling, stranger  bool // may answer what was sent to server
	}{
		{"full cone", Independent, Independent, 1, true, true},
		{"restricted", Independent, OnAddress, 1, true, false},
		{"port restricted", Independent, OnAddressPort, 1, false, false},
		{"by address", OnAddress, OnAddress, 2, true, false},
		{"symmetric", OnAddressPort, OnAddressPort, 3, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork()
				inside := n.NewNAT(public, c.mapping, c.filtering)
				a := inside.Attach(netip.MustParseAddrPort("10.0.0.1:5690"), packet.Config{})
				b := inside.Attach(netip.MustParseAddrPort("10.0.0.2:5690"), packet.Config{})
				hosts := []*Host{n.Attach(server, packet.Config{}), n.Attach(sibling, packet.Config{}), n.Attach(stranger, packet.Config{})}
				send := func(from *Host, to netip.AddrPort) {
					if err := from.Send([]byte("x"), to, netip.Addr{}); err != nil {
						t.Fatal(err)
					}
				}
				send(a, b.Addr())
				if got := read(b); len(got) != 1 || got[0].From != a.Addr() {
					t.Fatalf("inside: %v", got)
				}
				send(hosts[0], a.Addr())
				if got := read(a); len(got) != 0 {
					t.Fatalf("the outside reached an inside address: %v", got)
				}
				send(a, server)
				mapped := read(hosts[0])[0].From
				if mapped.Addr() != public {
					t.Fatalf("from %v", mapped)
				}
				for i, may := range []bool{true, c.sibling, c.stranger} {
					send(hosts[i], mapped)
					if got := read(a); (len(got) == 1) != may || may && got[0].From != hosts[i].Addr() {
						t.Errorf("host %d: %v, want %v", i, got, may)
					}
				}
				ports := map[netip.AddrPort]bool{mapped: true}
				for _, h := range hosts {
					send(a, h.Addr())
					for _, d := range read(h) {
						ports[d.From] = true
					}
				}
				if len(ports) != c.ports {
					t.Errorf("%d ports, want %d", len(ports), c.ports)
				}
				send(b, mapped)
				if got := read(a); len(got) != 0 {
					t.Errorf("hairpin: %v", got)
				}
			})
		})
	}
}
