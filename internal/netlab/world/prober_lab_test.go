//go:build lab

package world

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waiting for what must come; silence is how long nothing is
// taken for never, where no later datagram can prove it.
const (
	patience = 10 * time.Second
	silence  = 300 * time.Millisecond
)

// A reflector is the basestation's machine with four sockets: two addresses,
// two ports each. It tells who sends, and sends where it is told to.
type reflector struct {
	t    *testing.T
	conn [4]*net.UDPConn // first:p first:q second:p second:q
}

func newReflector(t *testing.T, w *World, addrs [2]netip.Addr) *reflector {
	t.Helper()
	r := &reflector{t: t}
	for i := range r.conn {
		r.conn[i] = listen(t, w.Base.Node, netip.AddrPortFrom(addrs[i/2], uint16(3478+i%2)))
	}
	return r
}

func (r *reflector) addr(i int) netip.AddrPort { return local(r.conn[i]) }

func local(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// listen opens a UDP socket in a node.
func listen(t *testing.T, n *Node, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	var err error
	n.Do(func() { c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t *testing.T, c *net.UDPConn, text string, to netip.AddrPort) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort([]byte(text), to); err != nil {
		t.Fatal(err)
	}
}

// receive returns the next datagram, or ok false after a while.
func receive(t *testing.T, c *net.UDPConn, within time.Duration) (text string, from netip.AddrPort, ok bool) {
	t.Helper()
	b := make([]byte, 2000)
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	n, from, err := c.ReadFromUDPAddrPort(b)
	return string(b[:n]), netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err == nil
}

// mapped sends from c to socket i of the reflector and returns under which
// address that arrived.
func (r *reflector) mapped(c *net.UDPConn, i int) (netip.AddrPort, bool) {
	r.t.Helper()
	send(r.t, c, "hello", r.addr(i))
	for {
		text, from, ok := receive(r.t, r.conn[i], patience)
		if !ok || text == "hello" {
			return from, ok
		}
	}
}

// arrive reports which sockets of the reflector can send to a mapped address,
// of those that c has not sent to. The last, which c has sent to, sends last:
// when that has arrived, what has not come will not come.
func (r *reflector) arrive(c *net.UDPConn, to netip.AddrPort, strangers []int, friend int) map[string]bool {
	r.t.Helper()
	for _, i := range strangers {
		send(r.t, r.conn[i], r.addr(i).String(), to)
	}
	send(r.t, r.conn[friend], "last", to)
	got := map[string]bool{}
	for {
		text, from, ok := receive(r.t, c, patience)
		if !ok {
			r.t.Fatal("not even the answer came")
		}
		if text == "last" {
			return got
		}
		if from.String() != text {
			r.t.Errorf("what %s sent comes from %s", text, from)
		}
		got[text] = true
	}
}

// behaviour is what a NAT does, in the terms of RFC 4787.
type behaviour struct {
	Mapping   string // none, endpoint-independent, endpoint-dependent
	Filtering string // none, address, address and port
	Hairpin   bool
}

// probe observes the NAT in front of a host.
func (r *reflector) probe(h *Host) behaviour {
	r.t.Helper()
	var b behaviour
	c := listen(r.t, h.Node, netip.AddrPortFrom(h.Addr(), 0))
	first, ok := r.mapped(c, 0)
	if !ok {
		r.t.Fatalf("%s does not reach the basestation by UDP", h.Name())
	}
	got := r.arrive(c, first, []int{1, 2, 3}, 0)
	switch port, addr := got[r.addr(1).String()], got[r.addr(2).String()]; {
	case port && addr:
		b.Filtering = "none"
	case port:
		b.Filtering = "address"
	case !addr:
		b.Filtering = "address and port"
	default:
		b.Filtering = "strange"
	}
	seen := map[netip.AddrPort]bool{first: true}
	for i := 1; i < 4; i++ {
		m, ok := r.mapped(c, i)
		if !ok {
			r.t.Fatalf("socket %d of the basestation hears nothing", i)
		}
		seen[m] = true
	}
	switch {
	case len(seen) == 4:
		b.Mapping = "endpoint-dependent"
	case len(seen) == 1 && first == local(c):
		b.Mapping = "none"
	case len(seen) == 1:
		b.Mapping = "endpoint-independent"
	default:
		b.Mapping = "strange"
	}
	b.Hairpin = r.hairpin(h, c, first)
	return b
}

// hairpin reports whether another socket of the host reaches the first by its
// public address.
func (r *reflector) hairpin(h *Host, c *net.UDPConn, public netip.AddrPort) bool {
	r.t.Helper()
	other := listen(r.t, h.Node, netip.AddrPortFrom(h.Addr(), 0))
	if _, ok := r.mapped(other, 0); !ok {
		r.t.Fatal("the second socket does not reach the basestation")
	}
	send(r.t, other, "round", public)
	send(r.t, r.conn[0], "last", public)
	text, from, ok := receive(r.t, c, patience)
	if !ok {
		r.t.Fatal("not even the answer came")
	}
	if text == "round" && public.Addr() != h.Addr() && from.Addr() != public.Addr() {
		r.t.Errorf("by the hairpin comes %s, not the public address", from)
	}
	return text == "round"
}
