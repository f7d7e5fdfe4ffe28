package discover

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// An Announcer makes a device known on the local network.
type Announcer struct {
	info    Info
	options Options

	mu   sync.Mutex
	name string
	wake chan struct{} // holds one token after a change of name
}

// NewAnnouncer checks info; Run announces it.
func NewAnnouncer(info Info, o Options) (*Announcer, error) {
	if info.Name == "" {
		info.Name = info.ID.Device
	}
	if !info.ID.Valid() || info.Key.IsZero() || len(info.Addrs) == 0 {
		return nil, errors.New("discover: an id, a key and an address are needed")
	}
	if err := checkName(info.Name); err != nil {
		return nil, err
	}
	for _, a := range info.Addrs {
		if !a.IsValid() || a.Port() == 0 || a.Port() != info.Addrs[0].Port() {
			return nil, fmt.Errorf("discover: address %v is not one with the port of the others", a)
		}
	}
	return &Announcer{info: info, options: o, name: info.Name, wake: make(chan struct{}, 1)}, nil
}

// SetName changes the name for people. It may be called at any time; the network
// hears of it while Run runs.
func (a *Announcer) SetName(name string) error {
	if name == "" {
		name = a.info.ID.Device
	}
	if err := checkName(name); err != nil {
		return err
	}
	a.mu.Lock()
	a.name = name
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default: // it is awake
	}
	return nil
}

func (a *Announcer) currentName() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.name
}

// Run announces the device, answers questions about it and follows the machine
// to other networks, until ctx ends; then it says goodbye and returns nil. The
// error that it returns at once, when multicast is not available, is no reason
// to stop a device.
func (a *Announcer) Run(ctx context.Context) error {
	wanted := func(addr netip.Addr) bool { return listens(a.info.Addrs, addr) }
	n, err := open(a.options.Loopback, wanted)
	if err != nil {
		return fmt.Errorf("discover: announce: %w", err)
	}
	defer n.close()
	send := func(packets []packet) {
		for _, p := range packets {
			n.send(p)
		}
	}
	info := a.info
	info.Name = a.currentName()
	r := newResponder(time.Now(), info, n.outlets())
	label := r.label
	n.pump(ctx, a.wake, r.next, func(now time.Time, d *datagram, looked bool) bool {
		if looked {
			r.relink(now, n.outlets())
		}
		if name := a.currentName(); name != r.info.Name {
			send(r.rename(now, name))
		}
		if d != nil {
			if m, ok := parse(d.b); ok {
				send(r.handle(now, &m, d.outlet(), d.from))
			}
		}
		send(r.tick(now))
		if r.label != label {
			label = r.label
			a.options.logger().Info("announced name changed", "op", "mdns", "device", label)
		}
		return true
	})
	send(r.goodbye())
	return nil
}
