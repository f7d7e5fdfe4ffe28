package client

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/pion/stun/v4"
)

// A fakeNAT answers STUN requests on several addresses with mappings that lead
// to their senders, and filters what comes to these.
type fakeNAT struct {
	t         *testing.T
	perTarget bool // another mapping for each server
	closed    bool // mappings lead nowhere
	filter    bool // only who was sent to may send

	mu       sync.Mutex
	mappings map[mappingKey]*mapping
	external map[netip.AddrPort]*mapping
}

type mappingKey struct {
	inside netip.AddrPort
	server int
}

type mapping struct {
	inside netip.AddrPort
	sock   *net.UDPConn
	peers  map[netip.AddrPort]bool // external addresses that were sent to
}

func (n *fakeNAT) listen() *net.UDPConn {
	sock, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = sock.Close() })
	return sock
}

// serve answers STUN requests and returns where.
func (n *fakeNAT) serve(server int) netip.AddrPort {
	sock := n.listen()
	go read(sock, func(b []byte, from netip.AddrPort) { // ends with the test
		m := &stun.Message{Raw: bytes.Clone(b)}
		if m.Decode() != nil {
			return
		}
		seen := addrOf(n.mapping(from, server).sock)
		answer, err := stun.Build(m, stun.BindingSuccess, &stun.XORMappedAddress{IP: seen.Addr().AsSlice(), Port: int(seen.Port())})
		if err == nil {
			_, _ = sock.WriteToUDPAddrPort(answer.Raw, from)
		}
	})
	return addrOf(sock)
}

// mapping returns the mapping of a sender.
func (n *fakeNAT) mapping(inside netip.AddrPort, server int) *mapping {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.perTarget {
		server = 0
	}
	key := mappingKey{inside, server}
	if m := n.mappings[key]; m != nil {
		return m
	}
	m := &mapping{inside: inside, sock: n.listen(), peers: map[netip.AddrPort]bool{}}
	n.mappings[key], n.external[addrOf(m.sock)] = m, m
	go read(m.sock, func(b []byte, from netip.AddrPort) { n.enter(m, b, from) }) // ends with the test
	return m
}

// enter handles a datagram from inside to a mapping.
func (n *fakeNAT) enter(to *mapping, b []byte, from netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := false
	for _, m := range n.external {
		if m.inside == from {
			m.peers[addrOf(to.sock)] = true
			known = known || to.peers[addrOf(m.sock)]
		}
	}
	if !n.closed && (known || !n.filter) {
		_, _ = to.sock.WriteToUDPAddrPort(b, to.inside)
	}
}

func addrOf(sock *net.UDPConn) netip.AddrPort { return sock.LocalAddr().(*net.UDPAddr).AddrPort() }

func read(sock *net.UDPConn, handle func([]byte, netip.AddrPort)) {
	b := make([]byte, 2048)
	for {
		size, from, err := sock.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		handle(b[:size], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	}
}

func TestNetcheckOfNATs(t *testing.T) {
	for _, test := range []struct {
		name string
		nat  *fakeNAT
		want Family
	}{
		{"open", &fakeNAT{}, Family{Mapping: MappingUnknown, Hairpin: true, Filtering: FilteringUnknown}},
		{"filtered", &fakeNAT{filter: true}, Family{Mapping: MappingUnknown, Hairpin: true, Filtering: FilteringPeers}},
		{"without hairpin", &fakeNAT{closed: true}, Family{Mapping: MappingUnknown, Filtering: FilteringUnknown}},
		{"symmetric", &fakeNAT{perTarget: true, closed: true}, Family{Mapping: MappingPerTarget, Filtering: FilteringUnknown}},
	} {
		t.Run(test.name, func(t *testing.T) {
			nat := test.nat
			nat.t, nat.mappings, nat.external = t, map[mappingKey]*mapping{}, map[netip.AddrPort]*mapping{}
			first, second := newProbe(t), newProbe(t)
			servers := []netip.AddrPort{nat.serve(1), nat.serve(2)}
			got := checkFamily(t.Context(), first, second, servers, netip.Addr.Is4)
			if got.Error != "" || !got.Stable || !got.Mapped.IsValid() || got.PortKept || got.Milliseconds <= 0 {
				t.Errorf("%+v", got)
			}
			if got.Mapping != test.want.Mapping || got.Hairpin != test.want.Hairpin || got.Filtering != test.want.Filtering {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func newProbe(t *testing.T) *probe {
	t.Helper()
	p, err := openProbe(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

func TestNetcheckWithoutAFamily(t *testing.T) {
	first, second := newProbe(t), newProbe(t)
	none := func(netip.Addr) bool { return false }
	if f := checkFamily(t.Context(), first, second, nil, none); f.Error != "this machine has no address" {
		t.Errorf("%+v", f)
	}
	any := func(netip.Addr) bool { return true }
	if f := checkFamily(t.Context(), first, second, nil, any); f.Error == "" || f.Mapped.IsValid() {
		t.Errorf("%+v", f)
	}
}

func TestNetcheckConcludes(t *testing.T) {
	reached := Reach{OK: true}
	for _, test := range []struct {
		n                 Netcheck
		transport, direct string
	}{
		{Netcheck{UDP: reached, TLS: reached, IPv4: Family{Mapping: MappingUnknown}}, "udp", "unknown"},
		{Netcheck{UDP: reached, IPv4: Family{Mapping: MappingPerTarget}}, "udp", "some"},
		{Netcheck{UDP: reached, IPv4: Family{Mapping: MappingPerTarget}, IPv6: Family{Mapping: MappingNone}}, "udp", "likely"},
		{Netcheck{UDP: reached, IPv4: Family{Mapping: MappingSame}}, "udp", "likely"},
		{Netcheck{TLS: reached, IPv4: Family{Mapping: MappingSame}}, "tls", "no"},
		{Netcheck{}, "", ""},
	} {
		test.n.conclude()
		if test.n.Transport != test.transport || test.n.Direct != test.direct {
			t.Errorf("%+v: %q, %q", test.n, test.n.Transport, test.n.Direct)
		}
	}
}
