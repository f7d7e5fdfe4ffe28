package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	port = 5353

	queueLength  = 64   // datagrams that wait to be looked at; more are dropped
	maxPerSecond = 1000 // datagrams looked at; more are dropped
	readPause    = 50 * time.Millisecond

	lookEvery = 15 * time.Second // for interfaces and addresses that came or went
)

var groups = [2]netip.Addr{netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb")}

// An outlet is where multicast is sent: one family on one link.
type outlet struct {
	index int // of the link's interface
	v6    bool
}

// A datagram came from the link that it names, or seems to.
type datagram struct {
	b    []byte
	from netip.AddrPort
	link *link
	v6   bool
}

func (d datagram) outlet() outlet { return outlet{d.link.ifi.Index, d.v6} }

// A network is the multicast sockets of both families, joined to all links.
type network struct {
	loopback bool
	wanted   func(netip.Addr) bool
	sockets  []*socket
	in       chan datagram
	readers  sync.WaitGroup

	mu    sync.Mutex // guards what follows
	links []*link
}

// open opens the sockets and starts a reader for each, which ends with close. It
// fails if multicast can be had in neither family on any link.
func open(loopback bool, wanted func(netip.Addr) bool) (*network, error) {
	n := &network{loopback: loopback, wanted: wanted, in: make(chan datagram, queueLength)}
	var failed []error
	for _, v6 := range []bool{false, true} {
		s, err := listen(v6)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		n.sockets = append(n.sockets, s)
	}
	if len(n.sockets) > 0 {
		if _, err := n.look(); err != nil {
			failed = append(failed, err)
		}
	}
	if len(n.outlets()) == 0 {
		n.close()
		return nil, fmt.Errorf("multicast is not available: %w", errors.Join(append(failed, errors.New("no network can be joined"))...))
	}
	for _, s := range n.sockets {
		n.readers.Go(func() { n.read(s) })
	}
	return n, nil
}

// close closes the sockets and waits for their readers.
func (n *network) close() {
	for _, s := range n.sockets {
		_ = s.conn.Close()
	}
	n.readers.Wait()
}

// look looks at the interfaces anew and joins those that came. It reports
// whether there is a difference.
func (n *network) look() (changed bool, err error) {
	now, err := links(n.loopback, n.wanted)
	if err != nil {
		return false, err
	}
	for _, s := range n.sockets {
		for _, l := range now {
			s.join(l)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	changed = !slices.EqualFunc(n.links, now, func(a, b *link) bool {
		return a.ifi.Index == b.ifi.Index && slices.Equal(a.prefixes, b.prefixes)
	})
	n.links = now
	return changed, nil
}

func (n *network) current() []*link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.links
}

// outlets returns all ways to send.
func (n *network) outlets() map[outlet]*link {
	all := make(map[outlet]*link)
	for _, l := range n.current() {
		for _, s := range n.sockets {
			if s.joined[l.ifi.Index] {
				all[outlet{l.ifi.Index, s.v6}] = l
			}
		}
	}
	return all
}

// read hands on what comes from the links, never waiting for its reader.
func (n *network) read(s *socket) {
	buf := make([]byte, maxDatagram+1)
	second, count := time.Now(), 0
	for {
		size, index, from, err := s.read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(readPause) // something passing; never a busy loop
			continue
		}
		if now := time.Now(); now.Sub(second) >= time.Second {
			second, count = now, 0
		}
		if count++; count > maxPerSecond || size > maxDatagram {
			continue
		}
		l, ok := n.source(index, from.Addr())
		if !ok {
			continue
		}
		select {
		case n.in <- datagram{slices.Clone(buf[:size]), from, l, s.v6}:
		default:
		}
	}
}

// source returns the link that a datagram came from; index is that of the
// interface, or 0 where the system does not tell. What comes over loopback is
// from this machine, whichever of its addresses it bears.
func (n *network) source(index int, from netip.Addr) (*link, bool) {
	for _, l := range n.current() {
		if index == l.ifi.Index && l.loopback() || (index == 0 || index == l.ifi.Index) && l.hears(from) {
			return l, true
		}
	}
	return nil, false
}

// send sends a packet. An error is a loss like any other.
func (n *network) send(p packet) {
	for _, s := range n.sockets {
		if s.v6 != p.on.v6 {
			continue
		}
		if p.to.IsValid() {
			_, _ = s.conn.WriteToUDPAddrPort(p.b, p.to)
			continue
		}
		for _, l := range n.current() {
			if l.ifi.Index == p.on.index {
				s.multicast(&l.ifi, p.b)
			}
		}
	}
}

// A socket is bound to the port of multicast DNS in one family, beside other
// programs of the machine.
type socket struct {
	v6     bool
	conn   *net.UDPConn
	p4     *ipv4.PacketConn // nil if v6
	p6     *ipv6.PacketConn // nil if not v6
	joined map[int]bool     // interfaces; used by the owner of the network only
}

func listen(v6 bool) (*socket, error) {
	s := &socket{v6: v6, joined: make(map[int]bool)}
	// The address of a group makes net share the port (SO_REUSEADDR, on BSD
	// SO_REUSEPORT) and listen on all addresses.
	network, group := "udp4", groups[0]
	if v6 {
		network, group = "udp6", groups[1]
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(group, port)))
	if err != nil {
		return nil, err
	}
	s.conn = conn
	// Not every system can do each of these; what is missing is made up for
	// where it is used. A hop limit of 255 is due by RFC 6762 section 11.
	if v6 {
		s.p6 = ipv6.NewPacketConn(conn)
		_ = s.p6.SetControlMessage(ipv6.FlagInterface, true)
		_ = s.p6.SetMulticastLoopback(true)
		_ = s.p6.SetMulticastHopLimit(255)
		_ = s.p6.SetHopLimit(255)
	} else {
		s.p4 = ipv4.NewPacketConn(conn)
		_ = s.p4.SetControlMessage(ipv4.FlagInterface, true)
		_ = s.p4.SetMulticastLoopback(true)
		_ = s.p4.SetMulticastTTL(255)
		_ = s.p4.SetTTL(255)
	}
	return s, nil
}

// join joins the group on a link that has addresses of the family.
func (s *socket) join(l *link) {
	if s.joined[l.ifi.Index] || !slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool { return p.Addr().Is6() == s.v6 }) {
		return
	}
	var err error
	if s.v6 {
		err = s.p6.JoinGroup(&l.ifi, net.UDPAddrFromAddrPort(netip.AddrPortFrom(groups[1], 0)))
	} else {
		err = s.p4.JoinGroup(&l.ifi, net.UDPAddrFromAddrPort(netip.AddrPortFrom(groups[0], 0)))
	}
	s.joined[l.ifi.Index] = err == nil
}

func (s *socket) read(b []byte) (size, index int, from netip.AddrPort, err error) {
	var addr net.Addr
	if s.v6 {
		var cm *ipv6.ControlMessage
		if size, cm, addr, err = s.p6.ReadFrom(b); cm != nil {
			index = cm.IfIndex
		}
	} else {
		var cm *ipv4.ControlMessage
		if size, cm, addr, err = s.p4.ReadFrom(b); cm != nil {
			index = cm.IfIndex
		}
	}
	if udp, ok := addr.(*net.UDPAddr); ok {
		from = udp.AddrPort()
	}
	return size, index, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}

func (s *socket) multicast(ifi *net.Interface, b []byte) {
	if s.v6 {
		if s.p6.SetMulticastInterface(ifi) == nil {
			_, _ = s.conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(groups[1].WithZone(ifi.Name), port))
		}
		return
	}
	if s.p4.SetMulticastInterface(ifi) == nil {
		_, _ = s.conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(groups[0], port))
	}
}

// pump is the loop of both halves: it calls step with each datagram, and with nil
// when next has come or after a wake, until ctx ends or step returns false.
// looked says that the links have changed.
func (n *network) pump(ctx context.Context, wake <-chan struct{}, next func() time.Time, step func(now time.Time, d *datagram, looked bool) bool) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(next()))
		var came *datagram
		looked := false
		select {
		case <-ctx.Done():
			return
		case d := <-n.in:
			came = &d
		case <-look.C:
			looked, _ = n.look() // tried again next time
		case <-wake:
		case <-timer.C:
		}
		if !step(time.Now(), came, looked) {
			return
		}
	}
}
