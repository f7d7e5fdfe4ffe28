package relay

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/turn/v5"
)

var (
	errNoTCP   = errors.New("relay: TCP is not relayed")
	errNoName  = errors.New("relay: no such name")
	errInUse   = errors.New("relay: the user name has an allocation")
	errEnded   = errors.New("relay: the grant has ended")
	errPayload = errors.New("relay: datagram is too large")
	errFull    = errors.New("relay: no room to write")
)

// A generator makes the allocations of a socket. The library calls it on its
// read loop, while the request that asks for the allocation is k.current.
type generator struct{ k *socket }

func (generator) Validate() error { return nil }

// AllocatePacketConn makes the user's allocation.
func (g generator) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	l := g.k.s.user(c.UserID)
	// A port is asked for only with a reservation, and names are IPv4 addresses.
	if l == nil || c.Network != "udp4" || c.RequestedPort != 0 {
		return nil, nil, errNoName
	}
	a := &allocation{
		leg: l, k: g.k, src: g.k.current.src,
		queue: make(chan *datagram, memoryQueue), permitted: make(chan struct{}), done: make(chan struct{}),
	}
	g.k.s.count.allocations.Add(1)
	g.k.add(a)
	if !l.publish(a) {
		_ = a.Close()
		return nil, nil, errInUse
	}
	if l.pair.ended.Load() { // end did not see a
		_ = a.Close()
		return nil, nil, errEnded
	}
	l.pair.check()
	return a, l.addr, nil
}

func (generator) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errNoTCP
}

func (generator) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, errNoTCP }

// An allocation is what the library takes for the packet conn behind a relayed
// address. It leads to the allocation of the other leg and nowhere else.
type allocation struct {
	leg     *leg
	k       *socket
	src     netip.AddrPort // its client
	lapse   atomic.Int64   // age at which the library's timer takes it away
	channel atomic.Uint32  // number bound to the other leg's name; 0: none
	queue   chan *datagram // payload on its way to the library
	done    chan struct{}
	once    sync.Once

	permitted chan struct{} // closed when the client has asked to hear the other leg
	permit    sync.Once
}

// forward relays a frame of the leg's client to the other leg. A frame is
// channel data (RFC 8656 section 12.4), whatever its number, without padding.
func (a *allocation) forward(frame []byte) {
	count, n := &a.k.s.count, len(frame)-channelHeader
	if !a.leg.rate.take(n, a.k.s.limits.Rate, int64(a.age())) {
		count.dropped.Add(1)
		return
	}
	if !a.leg.pair.spend(n) {
		return
	}
	to := a.leg.peer.allocation.Load()
	if to == nil && a.leg.peer.hold(frame[channelHeader:]) {
		return
	}
	if to == nil || !to.receive(frame) {
		count.dropped.Add(1)
		return
	}
	count.packets.Add(1)
	count.bytes.Add(uint64(n))
}

// receive passes a frame of the other leg to the client: by its channel if it
// has bound one, else to the library, which makes a Data indication of it if
// the client permits.
func (a *allocation) receive(frame []byte) bool {
	number := uint16(a.channel.Load())
	if number == 0 {
		return a.enqueue(frame[channelHeader:])
	}
	if binary.BigEndian.Uint16(frame) == number {
		return a.k.send(frame, a.src) == nil
	}
	d := newDatagram()
	defer d.free()
	d.n = copy(d.b[:], frame)
	binary.BigEndian.PutUint16(d.b[:], number)
	return a.k.send(d.b[:d.n], a.src) == nil
}

func (a *allocation) enqueue(payload []byte) bool {
	d := newDatagram()
	d.n = copy(d.b[:], payload)
	select {
	case a.queue <- d:
		return true
	default:
		d.free()
		return false
	}
}

// age is the time since the grant.
func (a *allocation) age() time.Duration { return time.Since(a.leg.pair.started) }

// ReadFrom returns a datagram of the other leg, once the client may have it: the
// library drops what comes before. After Close it lets the library finish the
// request in work, which may be about this allocation, before the library
// forgets it; no later request can change it.
func (a *allocation) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-a.permitted:
		a.k.settle() // the request in work is the one that permits
	case <-a.done:
	}
	select {
	case d := <-a.queue:
		defer d.free()
		return copy(b, d.b[:d.n]), a.leg.peer.addr, nil
	case <-a.done:
		a.k.work.Lock()
		defer a.k.work.Unlock()
		return 0, nil, net.ErrClosed
	}
}

// WriteTo takes the payload of a Send indication.
func (a *allocation) WriteTo(b []byte, to net.Addr) (int, error) {
	switch {
	case !sameName(to, a.leg.peer.name):
		return 0, errNoName
	case len(b) > maxPayload:
		return 0, errPayload
	}
	d := newDatagram()
	defer d.free()
	binary.BigEndian.PutUint16(d.b[2:], uint16(len(b)))
	d.n = channelHeader + copy(d.b[channelHeader:], b)
	a.forward(d.b[:d.n])
	return len(b), nil
}

// Close takes the allocation away. The library notices by ReadFrom and forgets
// it too; nothing here calls the library, which may hold its locks.
func (a *allocation) Close() error {
	a.once.Do(func() {
		a.leg.allocation.CompareAndSwap(a, nil)
		a.k.remove(a)
		close(a.done)
		a.k.s.count.allocations.Add(-1)
		a.leg.pair.check()
	})
	return nil
}

func (a *allocation) LocalAddr() net.Addr { return a.leg.addr }

// Deadlines are not used: reading ends with Close, writing does not wait.
func (a *allocation) SetDeadline(time.Time) error      { return nil }
func (a *allocation) SetReadDeadline(time.Time) error  { return nil }
func (a *allocation) SetWriteDeadline(time.Time) error { return nil }

func sameName(a net.Addr, name netip.AddrPort) bool {
	u, ok := a.(*net.UDPAddr)
	return ok && len(u.IP) == net.IPv4len && u.AddrPort() == name
}
