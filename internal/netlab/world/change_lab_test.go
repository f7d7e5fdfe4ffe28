//go:build lab

package world

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestFlushMappings(t *testing.T) {
	for _, kind := range []Kind{FullCone, PortRestricted, Symmetric, CGNAT} {
		t.Run(kind.String(), func(t *testing.T) {
			w := New(t, Config{Sites: []SiteConfig{{Kind: kind}}})
			r := newReflector(t, w, baseAddrs(w))
			s := w.Sites[0]
			c := listen(t, s.Hosts[0].Node, netip.AddrPortFrom(s.Hosts[0].Addr(), 0))
			before, _ := r.mapped(c, 0)
			s.FlushMappings()
			send(t, r.conn[0], "to the old mapping", before)
			after, ok := r.mapped(c, 0)
			if !ok || after == before || after.Addr() != before.Addr() {
				t.Errorf("the mapping was %s and is %s", before, after)
			}
			send(t, r.conn[0], "to the new mapping", after)
			if got, _, _ := receive(t, c, patience); got != "to the new mapping" {
				t.Errorf("the host received %q", got)
			}
		})
	}
}

// What comes to a port before its host has sent anything does not take the port
// away from the host.
func TestEarlyDatagram(t *testing.T) {
	w := New(t, Config{Sites: []SiteConfig{{Kind: PortRestricted}}})
	r := newReflector(t, w, baseAddrs(w))
	s := w.Sites[0]
	c := listen(t, s.Hosts[0].Node, netip.AddrPortFrom(s.Hosts[0].Addr(), 5690))
	m, _ := r.mapped(c, 1)
	w.run(s.Router, "", "conntrack", "-F")
	s.Router.Run("nft", "flush", "map", "ip", "nat", "owner")
	send(t, r.conn[0], "early", m)
	again, ok := r.mapped(c, 0)
	if !ok || again != m {
		t.Errorf("mapped to %s, and after an early datagram to %s", m, again)
	}
	send(t, r.conn[0], "in time", m)
	if got, _, _ := receive(t, c, patience); got != "in time" {
		t.Errorf("the host received %q", got)
	}
}

func TestMappingExpires(t *testing.T) {
	w := New(t, Config{Sites: []SiteConfig{{Kind: PortRestricted, UDPLife: time.Second}}})
	r := newReflector(t, w, baseAddrs(w))
	h := w.Sites[0].Hosts[0]
	c := listen(t, h.Node, netip.AddrPortFrom(h.Addr(), 0))
	m, _ := r.mapped(c, 0)
	send(t, r.conn[0], "young", m)
	if got, _, _ := receive(t, c, patience); got != "young" {
		t.Errorf("received %q", got)
	}
	time.Sleep(4 * time.Second) // the router's own time, with room for its rounding
	send(t, r.conn[0], "old", m)
	if got, _, ok := receive(t, c, silence); ok {
		t.Errorf("received %q by a mapping that has expired", got)
	}
}

func TestAddressesChange(t *testing.T) {
	for _, kind := range []Kind{None, PortRestricted, CGNAT} {
		t.Run(kind.String(), func(t *testing.T) {
			w := New(t, Config{Sites: []SiteConfig{{Kind: kind}}, V6: true})
			r := newReflector(t, w, baseAddrs(w))
			s := w.Sites[0]
			h, seen := s.Hosts[0], map[netip.Addr]bool{}
			try := func(step string) {
				t.Helper()
				m, ok := r.mapped(listen(t, h.Node, netip.AddrPortFrom(h.Addr(), 0)), 0)
				want := s.Public()
				if kind == None {
					want = h.Addr()
				}
				if !ok || m.Addr() != want {
					t.Errorf("%s: seen as %s, want %s", step, m, want)
				}
				seen[m.Addr()] = true
			}
			try("at first")
			s.ChangeAddress()
			try("other public address")
			s.ChangeAddress()
			try("another public address")
			old := h.Addr()
			h.Renumber()
			if h.Addr() == old {
				t.Error("the host's address is the same")
			}
			try("other host address")
			want := 3
			if kind == None {
				want = 2
			}
			if len(seen) != want {
				t.Errorf("seen as %v, want %d addresses", seen, want)
			}
		})
	}
}

// A host that moves is reachable where it is, and by no way between LANs.
func TestMove(t *testing.T) {
	w := New(t, Config{V6: true, Sites: []SiteConfig{{Kind: PortRestricted, V6: true}, {Kind: FullCone, Hosts: []string{"b", "printer"}}}})
	r := newReflector(t, w, baseAddrs(w))
	a, b, h := w.Sites[0], w.Sites[1], w.Sites[0].Hosts[0]
	printer := b.Hosts[1]
	c := listen(t, h.Node, netip.MustParseAddrPort("0.0.0.0:5690"))
	p := listen(t, printer.Node, netip.AddrPortFrom(printer.Addr(), 9100))
	for _, step := range []struct {
		at     *Site
		onLink bool
	}{{a, false}, {b, true}, {a, false}} {
		if h.Site() != step.at {
			h.Move(step.at, 0)
		}
		if m, ok := r.mapped(c, 0); !ok || m.Addr() != step.at.Public() {
			t.Errorf("seen as %s, want %s", m, step.at.Public())
		}
		if h.Addr6().IsValid() != (step.at == a) {
			t.Errorf("address %s", h.Addr6())
		}
		send(t, c, "print", local(p))
		within := silence
		if step.onLink {
			within = patience
		}
		if _, _, ok := receive(t, p, within); ok != step.onLink {
			t.Errorf("the printer's LAN is reached: %v, want %v", ok, step.onLink)
		}
	}
	if len(a.Hosts) != 1 || len(b.Hosts) != 2 {
		t.Error("the sites' own hosts changed")
	}
}

func TestUDPBlocked(t *testing.T) {
	w := New(t, Config{Sites: []SiteConfig{{Kind: UDPBlocked}, {Kind: FullCone}}})
	r := newReflector(t, w, baseAddrs(w))
	for _, port := range []uint16{443, 5684, 8080} {
		accept(t, w.Base, port)
	}
	blocked, open := w.Sites[0], w.Sites[1]
	udp := func(s *Site) bool {
		t.Helper()
		send(t, listen(t, s.Hosts[0].Node, netip.AddrPortFrom(s.Hosts[0].Addr(), 0)), "hello", r.addr(0))
		_, _, ok := receive(t, r.conn[0], silence)
		return ok
	}
	check := func(step string, s *Site, wantUDP bool, wantTCP ...uint16) {
		t.Helper()
		if got := udp(s); got != wantUDP {
			t.Errorf("%s: UDP passes: %v", step, got)
		}
		var got []uint16
		for _, port := range []uint16{443, 5684, 8080} {
			if connects(s.Hosts[0], netip.AddrPortFrom(w.Base.Addr(), port)) {
				got = append(got, port)
			}
		}
		if len(got) != len(wantTCP) {
			t.Errorf("%s: TCP passes to %v, want %v", step, got, wantTCP)
		}
	}
	check("blocked from the start", blocked, false, 443, 5684, 8080)
	check("open", open, true, 443, 5684, 8080)
	open.BlockUDP(true)
	check("blocked", open, false, 443, 5684, 8080)
	open.BlockUDP(false)
	check("open again", open, true, 443, 5684, 8080)
	open.OnlyTCP(443, 5684)
	check("two TCP ports", open, false, 443, 5684)
	open.OnlyTCP()
	check("everything again", open, true, 443, 5684, 8080)
}

// accept takes TCP connections to a port until the test ends.
func accept(t *testing.T, h *Host, port uint16) {
	t.Helper()
	var l net.Listener
	var err error
	h.Do(func() { l, err = net.Listen("tcp", netip.AddrPortFrom(h.Addr(), port).String()) })
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

func connects(h *Host, to netip.AddrPort) (ok bool) {
	h.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), silence)
		defer cancel()
		var d net.Dialer
		if c, err := d.DialContext(ctx, "tcp", to.String()); err == nil {
			c.Close()
			ok = true
		}
	})
	return ok
}

// Packets above the hidden MTU vanish, both ways, and nobody hears about it.
func TestMTU(t *testing.T) {
	w := New(t, Config{Sites: []SiteConfig{{Kind: PortRestricted}}})
	r := newReflector(t, w, baseAddrs(w))
	s := w.Sites[0]
	c := listen(t, s.Hosts[0].Node, netip.AddrPortFrom(s.Hosts[0].Addr(), 0))
	m, _ := r.mapped(c, 0)
	passes := func(bytes int) (out, in bool) {
		t.Helper()
		for _, ping := range []string{"big", "hello"} {
			send(t, c, ping+strings.Repeat(".", map[string]int{"big": bytes - 28 - 3}[ping]), r.addr(0))
		}
		for {
			text, _, ok := receive(t, r.conn[0], patience)
			if !ok {
				t.Fatal("nothing passes")
			}
			if text == "hello" {
				break
			}
			out = true
		}
		for _, ping := range []string{"big", "hello"} {
			send(t, r.conn[0], ping+strings.Repeat(".", map[string]int{"big": bytes - 28 - 3}[ping]), m)
		}
		for {
			text, _, ok := receive(t, c, patience)
			if !ok {
				t.Fatal("nothing passes back")
			}
			if text == "hello" {
				return out, in
			}
			in = true
		}
	}
	check := func(bytes int, want bool) {
		t.Helper()
		for range 3 { // a sender that had been told would refuse or cut the second
			if out, in := passes(bytes); out != want || in != want {
				t.Errorf("%d bytes: out %v, in %v, want %v", bytes, out, in, want)
			}
		}
	}
	check(1500, true)
	s.SetMTU(1280)
	check(1280, true)
	check(1281, false)
	s.SetMTU(1500)
	check(1500, true)
}

func TestCommand(t *testing.T) {
	w := New(t, Config{V6: true, Sites: []SiteConfig{{Kind: CGNAT, V6: true}, {Kind: None, V6: true, NoV4: true}}})
	a, b := w.Sites[0].Hosts[0], w.Sites[1].Hosts[0]
	for _, ping := range []struct {
		from *Host
		to   netip.Addr
		ok   bool
	}{
		{a, w.Base.Addr(), true},
		{a, w.Base.Addr6(), true},
		{b, w.Base.Addr6(), true},
		{a, b.Addr6(), true},
		{b, a.Addr6(), false}, // the firewall lets only answers in
		{w.Base, a.Addr(), false},
		{b, w.Base.Addr(), false},
	} {
		out, err := ping.from.Command(t.Context(), "ping", "-n", "-c", "1", "-W", "0.3", ping.to.String()).CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !asExit(err, &exit) {
			t.Fatal(err)
		}
		if (err == nil) != ping.ok {
			t.Errorf("%s to %s: %v\n%s", ping.from.Name(), ping.to, err, out)
		}
	}
}

func asExit(err error, exit **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError)
	*exit = e
	return ok
}
