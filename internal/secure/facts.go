package secure

import "github.com/latchkey-dev/latchkey/internal/packet"

// facts are what the datagrams of a handshake had in common. Only those count
// of which the library saw something.
type facts struct {
	seen     bool
	near     bool        // all came with hop limit 255, by one interface to one address
	first    packet.Meta // the first one
	last     packet.Meta // the last one
	finished packet.Meta // the last one with a protected handshake message
}

func (f *facts) note(m packet.Meta, finished bool) {
	if !f.seen {
		f.seen, f.near, f.first = true, true, m
	}
	f.near = f.near && m.HopLimit == 255 && m.IfIndex == f.first.IfIndex && m.Dst == f.first.Dst
	f.last = m
	if finished {
		f.finished = m
	}
}

// of adds the facts to what the library knows of a peer.
func (f *facts) of(p Peer) Peer {
	p.HopLimit255 = f.near
	if p.Meta = f.finished; !p.Meta.Src.IsValid() {
		p.Meta = f.last
	}
	return p
}
