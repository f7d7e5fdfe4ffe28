package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A socket is what the library takes for its packet conn: the UDP port of the
// basestation, or one accepted connection.
type socket struct {
	s         *Server
	send      func(b []byte, to netip.AddrPort) error
	connected bool            // a connection, so its source is proven
	changed   func(live bool) // a connection's: whether it has an allocation
	known     chan *datagram  // messages from those who are allocated, proven or expected
	strangers chan *datagram  // and from others
	done      chan struct{}
	once      sync.Once

	work    sync.Mutex // held while the library works at a request
	working bool       // of the library's read loop, as is current
	current struct {   // request in work
		src  netip.AddrPort
		size int
		port uint16 // that a ChannelBind asks for; 0 in other requests
		bind bool
	}

	challenge atomic.Pointer[challenge] // nil: the library has made none yet

	mu          sync.RWMutex
	allocations map[netip.AddrPort]*allocation
}

func newSocket(s *Server, send func([]byte, netip.AddrPort) error, queue int) *socket {
	return &socket{
		s: s, send: send, changed: func(bool) {},
		known: make(chan *datagram, queue), strangers: make(chan *datagram, queue),
		done:        make(chan struct{}),
		allocations: map[netip.AddrPort]*allocation{},
	}
}

func (k *socket) allocation(src netip.AddrPort) *allocation {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.allocations[src]
}

func (k *socket) add(a *allocation) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.allocations[a.src] = a
	k.changed(true)
}

func (k *socket) remove(a *allocation) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.allocations[a.src] == a {
		delete(k.allocations, a.src)
		k.changed(false)
	}
}

// permitted is the library's question whether the client at src may have a
// permission or a channel for an address.
func (k *socket) permitted(src net.Addr, peer net.IP) bool {
	a := k.allocation(k.current.src)
	if a == nil || src.(*net.UDPAddr).AddrPort() != k.current.src {
		return false
	}
	name := a.leg.peer.name
	ip, ok := netip.AddrFromSlice(peer)
	if !ok || ip != name.Addr() || k.current.bind && k.current.port != name.Port() {
		return false
	}
	a.permit.Do(func() { close(a.permitted) })
	return true
}

// settle returns when the library has finished the request in work.
func (k *socket) settle() {
	k.work.Lock()
	defer k.work.Unlock()
}

// ReadFrom returns the next message for the library, and holds k.work until the
// library comes back for another.
func (k *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	if k.working {
		k.working = false
		k.work.Unlock()
	}
	d := k.next()
	for d != nil && k.tooLate(d) {
		d.free()
		d = k.next()
	}
	if d == nil {
		return 0, nil, net.ErrClosed
	}
	defer d.free()
	k.work.Lock()
	k.working = true
	m := d.b[:d.n]
	k.current.src, k.current.size = d.src, d.n
	k.current.bind, k.current.port = binary.BigEndian.Uint16(m) == typeChannelBind, 0
	if k.current.bind {
		k.current.port = peerPort(m)
	}
	return copy(b, m), net.UDPAddrFromAddrPort(d.src), nil
}

// next waits for a message; nil after Close.
func (k *socket) next() *datagram {
	select {
	case d := <-k.known:
		return d
	default:
	}
	select {
	case d := <-k.known:
		return d
	case d := <-k.strangers:
		return d
	case <-k.done:
		return nil
	}
}

// tooLate reports whether a message asks for a permission or a channel when the
// allocation is about to lapse. The library cannot add one to an allocation
// that its timer takes away meanwhile; the client should have refreshed it.
func (k *socket) tooLate(d *datagram) bool {
	kind := binary.BigEndian.Uint16(d.b[:])
	if kind != typePermission && kind != typeChannelBind {
		return false
	}
	a := k.allocation(d.src)
	return a != nil && a.age()+lastMoment > time.Duration(a.lapse.Load())
}

// note keeps in mind when an allocation lapses that was made or refreshed.
func (k *socket) note(answer []byte, dst netip.AddrPort) {
	kind := binary.BigEndian.Uint16(answer)
	if kind != typeAllocateSuccess && kind != typeRefreshSuccess {
		return
	}
	a := k.allocation(dst)
	if a == nil {
		return
	}
	attributes(answer, func(kind uint16, v []byte) bool {
		if kind == attributeLifetime && len(v) == 4 {
			a.lapse.Store(int64(a.age() + time.Duration(binary.BigEndian.Uint32(v))*time.Second))
		}
		return true
	})
}

// WriteTo sends what the library answers or indicates. An answer is written
// while its request is in work.
func (k *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	dst := to.(*net.UDPAddr).AddrPort()
	n := len(b)
	if n >= stunHeader && b[0] <= 3 && binary.BigEndian.Uint16(b)&responseBit != 0 {
		k.note(b, dst)
		k.learn(b)
		b = tidy(b)
		if !k.s.affords(k, dst, k.current.size, len(b)) {
			return n, nil
		}
	}
	return n, k.send(b, dst)
}

// tidy returns an error answer without a reason in words, and one to a
// ChannelBind for a peer that is not permitted with the code 403 (RFC 8656
// section 12.2), where the library says 401: only a challenge is 401, and that
// has a nonce beside its error code. Answers that are changed are not signed.
func tidy(b []byte) []byte {
	kind := binary.BigEndian.Uint16(b)
	if kind&errorBits != errorBits || len(b) < stunHeader+8 || binary.BigEndian.Uint16(b[20:]) != attributeError {
		return b
	}
	rest := stunHeader + 4 + (int(binary.BigEndian.Uint16(b[22:]))+3)&^3
	denied := kind == typeChannelError && len(b) == stunHeader+8 && b[26] == 4 && b[27] == 1
	if !denied && rest == stunHeader+8 || rest > len(b) {
		return b
	}
	t := append([]byte(nil), b[:stunHeader+8]...)
	t = append(t, b[rest:]...)
	binary.BigEndian.PutUint16(t[2:], uint16(len(t)-stunHeader))
	binary.BigEndian.PutUint16(t[22:], 4)
	if denied {
		t[27] = 3
	}
	return t
}

// Close ends the library's read loop, which then closes its allocations.
func (k *socket) Close() error {
	k.once.Do(func() { close(k.done) })
	return nil
}

func (k *socket) closed() bool {
	select {
	case <-k.done:
		return true
	default:
		return false
	}
}

// LocalAddr is the same for all, as a client is told apart by its source.
func (k *socket) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4zero} }

// Deadlines are not used: reading ends with Close, writing does not wait.
func (k *socket) SetDeadline(time.Time) error      { return nil }
func (k *socket) SetReadDeadline(time.Time) error  { return nil }
func (k *socket) SetWriteDeadline(time.Time) error { return nil }
