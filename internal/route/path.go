package route

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
)

// A Kind says which way the datagrams of a Path take. The texts are those of
// acl.PathKind.
type Kind string

// The kinds, best first.
const (
	Local  Kind = "local"  // on the same network, found without a basestation
	Direct Kind = "direct" // from address to address, checked by ICE
	Relay  Kind = "relay"  // through a TURN server
)

// rank orders kinds; more is better.
func (k Kind) rank() int {
	switch k {
	case Local:
		return 3
	case Direct:
		return 2
	case Relay:
		return 1
	}
	return 0
}

// A Path is one way to the peer. It is safe for concurrent use.
type Path struct {
	kind Kind
	link atomic.Pointer[link]
}

// A link is what a path sends with while it is up.
type link struct {
	send   func([]byte) error
	remote netip.AddrPort
}

// LocalPath returns a path that was found without a basestation. It is up for
// ever.
func LocalPath(send func([]byte) error, remote netip.AddrPort) *Path {
	return NewPath(Local, send, remote)
}

// NewPath is LocalPath for a path of a kind that the caller knows.
func NewPath(kind Kind, send func([]byte) error, remote netip.AddrPort) *Path {
	p := &Path{kind: kind}
	p.link.Store(&link{send: send, remote: remote})
	return p
}

// Kind returns which way the path takes. It never changes.
func (p *Path) Kind() Kind { return p.kind }

// Remote returns the address that the path sends to: the peer's, or the one
// that the relay gave it. It is the zero AddrPort while the path is down. That
// of a direct path changes when ICE selects another pair.
func (p *Path) Remote() netip.AddrPort {
	if l := p.link.Load(); l != nil {
		return l.remote
	}
	return netip.AddrPort{}
}

// Send sends one datagram, or returns an error that matches net.ErrClosed
// because the path is down, or the socket's.
func (p *Path) Send(b []byte) error {
	l := p.link.Load()
	if l == nil {
		return fmt.Errorf("route: %s path is down: %w", p.kind, net.ErrClosed)
	}
	return l.send(b)
}
