package netlab

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

// defaultHopLimit is what hosts send with when their packet.Config says 0.
const defaultHopLimit = 64

// A Datagram is on its way from one host to another.
type Datagram struct {
	From, To netip.AddrPort
	HopLimit int // as the receiver will see it
	Payload  []byte
}

// An Impairment is what the network does to datagrams. The zero Impairment
// delivers each one at once and in order.
type Impairment struct {
	Seed      uint64        // of the random decisions
	Loss      float64       // probability that a datagram is lost, 0 to 1
	Duplicate float64       // probability that it arrives twice, 0 to 1
	Delay     time.Duration // one way
	Jitter    time.Duration // a random part of this is added to Delay, which reorders
	Routers   int           // on every path, each of which takes one off the hop limit
}

// A Network connects hosts.
type Network struct {
	mu       sync.Mutex
	hosts    map[netip.AddrPort]*Host
	natPorts map[netip.AddrPort]*natPort
	impair   Impairment
	random   *rand.Rand
	filter   func(*Datagram) bool
}

// NewNetwork returns a network without hosts that does no harm.
func NewNetwork() *Network {
	n := &Network{hosts: make(map[netip.AddrPort]*Host), natPorts: make(map[netip.AddrPort]*natPort)}
	n.Impair(Impairment{})
	return n
}

// Impair sets what happens to the datagrams sent from now on.
func (n *Network) Impair(i Impairment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.impair, n.random = i, rand.New(rand.NewPCG(i.Seed, i.Seed))
}

// Filter lets f see each datagram that a host sends, before any impairment. It
// may change it; if it returns false the datagram is lost. It must not send.
// A nil f lets everything pass.
func (n *Network) Filter(f func(*Datagram) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.filter = f
}

// Attach adds a host. It panics if the address is taken or not complete,
// because then the test is wrong.
func (n *Network) Attach(addr netip.AddrPort, cfg packet.Config) *Host {
	return n.attach(addr, cfg, nil)
}

func (n *Network) attach(addr netip.AddrPort, cfg packet.Config, behind *NAT) *Host {
	if !addr.Addr().IsValid() || addr.Addr().Is4In6() || addr.Port() == 0 {
		panic(fmt.Sprintf("netlab: cannot attach a host as %v", addr))
	}
	if cfg.HopLimit == 0 {
		cfg.HopLimit = defaultHopLimit
	}
	h := &Host{
		network:  n,
		nat:      behind,
		addr:     addr,
		hopLimit: cfg.HopLimit,
		queue:    make(chan Datagram, queueLength),
		closed:   make(chan struct{}),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[addr] != nil {
		panic(fmt.Sprintf("netlab: a host is attached as %v", addr))
	}
	n.hosts[addr] = h
	return h
}

// Inject delivers a datagram at once, whoever is named as its sender, past
// filter and impairment.
func (n *Network) Inject(d Datagram) {
	d.Payload = slices.Clone(d.Payload)
	n.deliver(d)
}

// send takes a datagram from a host.
func (n *Network) send(d Datagram) {
	n.mu.Lock()
	if n.filter != nil && !n.filter(&d) {
		n.mu.Unlock()
		return
	}
	i := n.impair
	copies := 1
	if n.random.Float64() < i.Duplicate {
		copies = 2
	}
	var delays []time.Duration
	for range copies {
		if n.random.Float64() < i.Loss {
			continue
		}
		delay := i.Delay
		if i.Jitter > 0 {
			delay += time.Duration(n.random.Int64N(int64(i.Jitter)))
		}
		delays = append(delays, delay)
	}
	n.mu.Unlock()
	d.HopLimit -= i.Routers
	if d.HopLimit <= 0 {
		return
	}
	for _, delay := range delays {
		if delay == 0 {
			n.deliver(d)
		} else {
			time.AfterFunc(delay, func() { n.deliver(d) })
		}
	}
}

func (n *Network) deliver(d Datagram) {
	n.mu.Lock()
	h, from, port := n.hosts[d.To], n.hosts[d.From], n.natPorts[d.To]
	n.mu.Unlock()
	switch {
	case port != nil:
		if !port.in(&d) {
			return
		}
		h = port.host
	case h == nil:
		return
	case h.nat != nil && (from == nil || from.nat != h.nat):
		return // an inside address means nothing outside
	}
	select {
	case h.queue <- d:
	default: // like a full socket buffer
	}
}

func (n *Network) detach(h *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[h.addr] == h {
		delete(n.hosts, h.addr)
	}
}
