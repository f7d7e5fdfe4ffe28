//go:build !linux

package packet

import (
	"errors"
	"net/netip"
)

// readGateways fails: without the gateways, no source is known to be a
// neighbour.
func readGateways() ([]netip.Addr, error) {
	return nil, errors.New("packet: the gateways of this system cannot be read")
}
