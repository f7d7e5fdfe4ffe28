package discover

import (
	"log/slog"
	"net/netip"

	"github.com/latchkey-dev/latchkey"
)

// Info is what a device says about itself.
type Info struct {
	ID   latchkey.DeviceID
	Name string // for people, at most MaxName bytes; "": the device part of ID
	Key  latchkey.Fingerprint
	// Addrs are the addresses that the device listens on, all with one port. An
	// unspecified address stands for all addresses of its family.
	Addrs []netip.AddrPort
}

// Found is a device that answered on the local network, or, with Gone, left it.
// Nothing in it is proven: the handshake decides whether the device at an
// address has the key. All fields are within the limits of this package and
// hold no character that cannot be printed.
type Found struct {
	ID    latchkey.DeviceID
	Name  string
	Key   latchkey.Fingerprint
	Addrs []netip.AddrPort // on the network that the answer came from; empty when Gone
	Gone  bool             // it said goodbye, or was not heard for long
}

// Options say where to look and to be found. The zero Options are the networks
// that the machine is on.
type Options struct {
	Loopback bool         // use the loopback interface alone; else it is used only when there is no other
	Log      *slog.Logger // nil: slog.Default()
}

func (o Options) logger() *slog.Logger {
	if o.Log == nil {
		return slog.Default()
	}
	return o.Log
}
