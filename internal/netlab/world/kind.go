package world

import "fmt"

// A Kind says how a site's router treats UDP. The terms are those of RFC 4787.
type Kind uint8

// Kinds of router. All but None translate IPv4 addresses and let TCP and IPv6
// in only as answers.
const (
	// None routes public addresses to the hosts and filters nothing.
	None Kind = iota
	// FullCone maps independently of the endpoint and filters nothing.
	FullCone
	// AddressRestricted maps independently of the endpoint and lets in only
	// from addresses that the host has sent to.
	AddressRestricted
	// PortRestricted maps independently of the endpoint and lets in only from
	// addresses and ports that the host has sent to.
	PortRestricted
	// Symmetric maps each endpoint to another random port and filters as
	// PortRestricted. It has no hairpin.
	Symmetric
	// CGNAT is PortRestricted behind the carrier's own PortRestricted.
	CGNAT
	// UDPBlocked is PortRestricted and drops UDP both ways.
	UDPBlocked
)

var kindNames = [...]string{
	"none", "full cone", "address-restricted", "port-restricted", "symmetric", "CGNAT over port-restricted", "UDP blocked",
}

// Kinds returns all kinds, in the order of the grid.
func Kinds() []Kind {
	return []Kind{None, FullCone, AddressRestricted, PortRestricted, Symmetric, CGNAT, UDPBlocked}
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// MarshalText implements encoding.TextMarshaler.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Kind) UnmarshalText(text []byte) error {
	for i, name := range kindNames {
		if name == string(text) {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("world: no kind %q", text)
}

// Effective returns the kind that the rest of the internet sees.
func (k Kind) Effective() Kind {
	if k == CGNAT {
		return PortRestricted
	}
	return k
}

// A Class is how two peers reach each other.
type Class string

// Classes of paths.
const (
	Direct Class = "direct"
	Relay  Class = "relay"
)

// Want returns the class of path between peers behind two kinds of NAT: direct,
// unless UDP is blocked on a side, or one side is symmetric and the other
// symmetric or port-restricted in effect, so that neither can know the port
// from which the other's datagrams come.
func Want(client, device Kind) Class {
	c, d := client.Effective(), device.Effective()
	hard := func(k Kind) bool { return k == Symmetric || k == PortRestricted }
	switch {
	case c == UDPBlocked || d == UDPBlocked:
		return Relay
	case c == Symmetric && hard(d), d == Symmetric && hard(c):
		return Relay
	default:
		return Direct
	}
}
