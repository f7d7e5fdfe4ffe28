package netlab

import (
	"fmt"
	"net/netip"
	"sync"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

// A Dependence says what of the other end a NAT looks at (RFC 4787 sections 4.1
// and 5).
type Dependence int

// The dependences, from the friendliest on.
const (
	Independent   Dependence = iota // of the other end
	OnAddress                       // one mapping for each address, or only from addresses sent to
	OnAddressPort                   // one for each address and port, or only from those sent to
)

// of returns the part of an address that matters.
func (d Dependence) of(a netip.AddrPort) netip.AddrPort {
	switch d {
	case Independent:
		return netip.AddrPort{}
	case OnAddress:
		return netip.AddrPortFrom(a.Addr(), 0)
	}
	return a
}

// firstMapped is the first port that a NAT gives away.
const firstMapped = 40000

// A NAT stands between hosts and the rest of a Network. The hosts reach each
// other directly. Nobody else reaches them but through a mapping, which the
// first datagram to the outside makes and nothing ends. It does no hairpinning.
type NAT struct {
	network            *Network
	addr               netip.Addr
	mapping, filtering Dependence

	mu    sync.Mutex
	next  uint16
	ports map[natKey]*natPort
}

type natKey struct{ inside, outside netip.AddrPort }

// A natPort is a port of a NAT.
type natPort struct {
	nat    *NAT
	host   *Host
	addr   netip.AddrPort
	opened map[netip.AddrPort]bool // by what the NAT's filtering looks at
}

// NewNAT returns a NAT with the given address outside.
func (n *Network) NewNAT(addr netip.Addr, mapping, filtering Dependence) *NAT {
	return &NAT{
		network: n, addr: addr, mapping: mapping, filtering: filtering,
		next: firstMapped, ports: make(map[natKey]*natPort),
	}
}

// Attach adds a host behind the NAT. Its address must be free in the whole
// Network.
func (x *NAT) Attach(addr netip.AddrPort, cfg packet.Config) *Host {
	return x.network.attach(addr, cfg, x)
}

// out changes a datagram of one of the hosts as it leaves, and opens the port
// for answers. It reports false if the datagram is for the NAT itself.
func (x *NAT) out(h *Host, d *Datagram) bool {
	if d.To.Addr() == x.addr {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	key := natKey{h.addr, x.mapping.of(d.To)}
	p := x.ports[key]
	if p == nil {
		p = &natPort{nat: x, host: h, addr: netip.AddrPortFrom(x.addr, x.next), opened: make(map[netip.AddrPort]bool)}
		x.ports[key] = p
		x.next++
		x.network.addPort(p)
	}
	p.opened[x.filtering.of(d.To)] = true
	d.From = p.addr
	return true
}

// in changes a datagram to the port as it enters. It reports false if nothing
// was sent to where it comes from.
func (p *natPort) in(d *Datagram) bool {
	p.nat.mu.Lock()
	defer p.nat.mu.Unlock()
	d.To = p.host.addr
	return p.opened[p.nat.filtering.of(d.From)]
}

func (n *Network) addPort(p *natPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[p.addr] != nil {
		panic(fmt.Sprintf("netlab: the address %v of a NAT is that of a host", p.addr))
	}
	n.natPorts[p.addr] = p
}

// inside reports whether a is the address of a host behind x.
func (n *Network) inside(x *NAT, a netip.AddrPort) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hosts[a] != nil && n.hosts[a].nat == x
}
