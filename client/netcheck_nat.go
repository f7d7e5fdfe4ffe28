package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Kinds of NAT mapping (RFC 4787 section 4.1), as far as they can be told.
const (
	MappingNone      = "none"       // the basestation sees an address of this machine
	MappingSame      = "same"       // one mapping for all targets
	MappingPerTarget = "per-target" // another mapping for each: direct paths depend on the other side
	MappingUnknown   = "unknown"    // a NAT; its kind takes a second address of the basestation to tell
)

// Kinds of NAT filtering (RFC 4787 section 5), as far as they can be told.
const (
	FilteringPeers   = "peers"   // only who we have sent to may send to a mapping
	FilteringUnknown = "unknown" // nobody but the basestation has tried from outside
)

// hairpinTime is how long a datagram to ourselves is waited for.
const hairpinTime = 400 * time.Millisecond

// A Family is what IPv4 or IPv6 do on this network.
type Family struct {
	Local        []netip.AddrPort `json:"local,omitempty"` // of this machine
	Mapped       netip.AddrPort   `json:"mapped,omitzero"` // what the basestation sees
	Milliseconds float64          `json:"ms,omitempty"`    // a round trip to the basestation, by STUN
	PortKept     bool             `json:"port_kept"`       // the mapped port is the local one
	Stable       bool             `json:"stable"`          // a second request found the same mapping
	Mapping      string           `json:"mapping,omitempty"`
	Hairpin      bool             `json:"hairpin"` // our own mapped address can be reached from here
	Filtering    string           `json:"filtering,omitempty"`
	Error        string           `json:"error,omitempty"`
}

// A probe is one UDP socket that looks at its network.
type probe struct {
	*network
	mu   sync.Mutex
	want []byte        // a datagram of our own
	got  chan struct{} // has an element when it came
}

// openProbe opens a socket. It must be closed.
func openProbe(log *slog.Logger) (*probe, error) {
	p := &probe{got: make(chan struct{}, 1)}
	var err error
	p.network, err = openNetwork(log, func() {}, p.take)
	return p, err
}

// take looks whether a datagram is the one that is waited for.
func (p *probe) take(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.want) > 0 && bytes.Equal(b, p.want) {
		select {
		case p.got <- struct{}{}:
		default:
		}
	}
}

// mapped asks a server for the mapping, and how long the answer took.
func (p *probe) mapped(ctx context.Context, server netip.AddrPort) (netip.AddrPort, time.Duration, error) {
	began := time.Now()
	a, err := p.hub.Mapped(ctx, server)
	return a, time.Since(began), err
}

// reachedBy reports whether a datagram that another socket sends to the address
// to arrives here.
func (p *probe) reachedBy(ctx context.Context, other *probe, to netip.AddrPort) bool {
	// Neither STUN nor DTLS begins with this byte (RFC 7983).
	datagram := append([]byte{0xff}, make([]byte, 16)...)
	_, _ = rand.Read(datagram[1:]) // never fails (crypto/rand)
	p.mu.Lock()
	p.want = datagram
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, hairpinTime)
	defer cancel()
	for range 3 { // datagrams get lost
		if other.Send(datagram, to, netip.Addr{}) != nil {
			return false
		}
		select {
		case <-p.got:
			return true
		case <-ctx.Done():
			return false
		case <-time.After(hairpinTime / 4):
		}
	}
	return false
}

// checkFamily finds out what the addresses of one family tell. first and second
// are sockets that have not sent to each other.
func checkFamily(ctx context.Context, first, second *probe, servers []netip.AddrPort, is func(netip.Addr) bool) Family {
	var f Family
	for _, a := range first.addrs() {
		if is(a.Addr()) && (!a.Addr().IsLoopback() || len(servers) > 0 && servers[0].Addr().IsLoopback()) {
			f.Local = append(f.Local, a)
		}
	}
	switch {
	case len(f.Local) == 0:
		f.Error = "this machine has no address"
		return f
	case len(servers) == 0:
		f.Error = "the basestation has no address that is known"
		return f
	}
	var took time.Duration
	var err error
	if f.Mapped, took, err = first.mapped(ctx, servers[0]); err != nil {
		f.Error = errNoAnswer.Error()
		return f
	}
	f.Milliseconds = milliseconds(took)
	f.PortKept = f.Mapped.Port() == f.Local[0].Port()
	again, took, err := first.mapped(ctx, servers[0])
	if err == nil {
		f.Stable = again == f.Mapped
		f.Milliseconds = min(f.Milliseconds, milliseconds(took))
	}
	f.Mapping = first.mapping(ctx, f, servers)
	f.Hairpin, f.Filtering = first.hairpin(ctx, second, f.Mapped, servers[0])
	return f
}

// mapping compares what different addresses of the basestation see.
func (p *probe) mapping(ctx context.Context, f Family, servers []netip.AddrPort) string {
	if slices.Contains(f.Local, f.Mapped) {
		return MappingNone
	}
	for _, other := range servers[1:] {
		if other == servers[0] {
			continue
		}
		switch a, _, err := p.mapped(ctx, other); {
		case err != nil:
			continue
		case a != f.Mapped:
			return MappingPerTarget
		case other.Addr() != servers[0].Addr(): // a NAT may look at addresses only
			return MappingSame
		}
	}
	return MappingUnknown
}

// hairpin sends to our own mapped address from a second socket: at first as a
// stranger, then as somebody whom the first socket has sent to. A NAT that
// filters hairpins filters strangers outside as well; one that does not may.
func (p *probe) hairpin(ctx context.Context, second *probe, mapped, server netip.AddrPort) (works bool, filtering string) {
	if p.reachedBy(ctx, second, mapped) {
		return true, FilteringUnknown
	}
	theirs, _, err := second.mapped(ctx, server)
	if err != nil || p.Send([]byte{0xff}, theirs, netip.Addr{}) != nil {
		return false, FilteringUnknown
	}
	if p.reachedBy(ctx, second, mapped) {
		return true, FilteringPeers
	}
	return false, FilteringUnknown
}
