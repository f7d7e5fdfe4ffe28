package world

import (
	"net/netip"
	"time"
)

// A Host is a machine with one interface, eth0.
type Host struct {
	*Node
	site            *Site // nil: unplugged, or the basestation's
	addr, addr6     netip.Addr
	second, second6 netip.Addr // of the basestation
}

// Addr returns the IPv4 address that the host has now, the zero Addr if none.
func (h *Host) Addr() netip.Addr { return h.addr }

// Addr6 returns the IPv6 address that the host has now, the zero Addr if none.
func (h *Host) Addr6() netip.Addr { return h.addr6 }

// Second returns the second IPv4 address of the basestation's machine.
func (h *Host) Second() netip.Addr { return h.second }

// Second6 returns the second IPv6 address of the basestation's machine.
func (h *Host) Second6() netip.Addr { return h.second6 }

// Site returns where the host is plugged in, or nil.
func (h *Host) Site() *Site { return h.site }

// Unplug takes the cable away: the interface, its addresses and routes are gone.
func (h *Host) Unplug() {
	h.w.t.Helper()
	h.ip("link del eth0")
	h.site, h.addr, h.addr6 = nil, netip.Addr{}, netip.Addr{}
}

// Move plugs the host in at another site, under new addresses, after having
// been nowhere for a while.
func (h *Host) Move(to *Site, nowhere time.Duration) {
	h.w.t.Helper()
	h.Unplug()
	time.Sleep(nowhere)
	h.plug(to)
}

// Renumber gives the host other addresses in the same LAN, as a new lease does.
func (h *Host) Renumber() {
	h.w.t.Helper()
	h.ip("addr flush dev eth0 scope global")
	h.number()
}

func (h *Host) plug(s *Site) {
	h.w.t.Helper()
	h.site = s
	h.w.run(nil, "link add name eth0 netns "+h.ns+" type veth peer name "+h.name+" netns "+s.Router.ns, "ip", "-batch", "-")
	s.Router.ip("link set dev %s master lan up", h.name)
	h.ip("link set eth0 up")
	h.number()
}

// number gives the host the next free addresses of its site.
func (h *Host) number() {
	h.w.t.Helper()
	s := h.site
	n := s.next
	s.next++
	if !s.cfg.NoV4 {
		lan := s.lan()
		h.addr = nth(lan, n)
		h.ip("addr add %s/%d dev eth0\nroute replace default via %s", h.addr, lan.Bits(), nth(lan, 1))
	}
	if s.cfg.V6 {
		lan := s.v6(1)
		h.addr6 = nth(lan, n)
		h.ip("addr add %s/64 dev eth0\nroute replace default via %s dev eth0", h.addr6, nth(lan, 1))
	}
}
