//go:build lab

package world

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// Two hosts that know each other's mapped addresses, send to these and answer
// whatever comes reach each other exactly where the table says direct.
func TestTableAgreesWithPunching(t *testing.T) {
	grid := Grid{Title: "Punching by hand"}
	report := grid.Run(t.Context(), Here(t.Context()), func(c Cell) (class Class, times Times, err error) {
		t.Run(c.String(), func(t *testing.T) {
			start := time.Now()
			w := New(t, Config{Sites: []SiteConfig{{Kind: c.Client}, {Kind: c.Device}}})
			set := time.Now()
			class = punch(t, w)
			times = Times{{"set up", set.Sub(start)}, {"punch", time.Since(set)}}
		})
		return class, times, nil
	})
	for _, r := range report.Wrong() {
		t.Errorf("%s: %q, want %s %s", r.Cell, r.Got, r.Want, r.Error)
	}
	if err := report.Save(t.TempDir(), "punch"); err != nil {
		t.Error(err)
	}
	for _, r := range report.Rows() {
		t.Logf("%+v", r)
	}
}

// A puncher is one side.
type puncher struct {
	conn   *net.UDPConn
	mapped netip.AddrPort
	peers  []netip.AddrPort // the other's address, and those it has been heard from
	heard  bool             // something from the other
	acked  bool             // the other has heard us
}

func punch(t *testing.T, w *World) Class {
	t.Helper()
	r := newReflector(t, w, baseAddrs(w))
	var side [2]*puncher
	for i, s := range w.Sites {
		h := s.Hosts[0]
		p := &puncher{conn: listen(t, h.Node, netip.AddrPortFrom(h.Addr(), 0))}
		send(t, p.conn, "hello", r.addr(0))
		_, from, ok := receive(t, r.conn[0], silence)
		if !ok {
			return Relay // UDP is blocked
		}
		p.mapped = from
		side[i] = p
	}
	side[0].peers, side[1].peers = []netip.AddrPort{side[1].mapped}, []netip.AddrPort{side[0].mapped}
	for range 10 {
		for _, p := range side {
			for _, to := range p.peers {
				send(t, p.conn, map[bool]string{false: "ping", true: "pong"}[p.heard], to)
			}
		}
		for _, p := range side {
			p.listen(t)
		}
		if side[0].acked && side[1].acked {
			return Direct
		}
	}
	return Relay
}

func (p *puncher) listen(t *testing.T) {
	t.Helper()
	for {
		text, from, ok := receive(t, p.conn, 10*time.Millisecond)
		if !ok {
			return
		}
		p.heard = true
		p.acked = p.acked || text == "pong"
		known := false
		for _, a := range p.peers {
			known = known || a == from
		}
		if !known {
			p.peers = append(p.peers, from)
		}
	}
}
