package device

import (
	"context"
	"sync"

	"github.com/latchkey-dev/latchkey/internal/discover"
)

// An announcer holds the device's name and who tells it to the network.
type announcer struct {
	mu   sync.Mutex // guards what follows
	name string
	tell func(name string) error // nil while the device is not announced
}

// name returns the name for people: the one that was given, or the id.
func (s *server) name() string {
	s.announce.mu.Lock()
	defer s.announce.mu.Unlock()
	if s.announce.name == "" {
		return s.id.String()
	}
	return s.announce.name
}

// rename changes the name for people, "" to the id, also on the network.
func (s *server) rename(name string) error {
	s.announce.mu.Lock()
	s.announce.name = name
	tell := s.announce.tell
	s.announce.mu.Unlock()
	if tell == nil {
		return nil
	}
	return tell(s.name())
}

// announceUntil tells the local network about the device until ctx ends. A
// network without multicast is no reason not to serve.
func (s *server) announceUntil(ctx context.Context) {
	if s.dev.NoDiscovery {
		return
	}
	name := s.name()
	mdns, err := discover.NewAnnouncer(discover.Info{
		ID: s.id, Name: name, Key: s.identity.Fingerprint(), Addrs: s.sock.LocalAddrs(),
	}, discover.Options{Loopback: s.loopback, Log: s.log})
	if err != nil {
		s.log.Warn("not announced on the local network", "err", err)
		return
	}
	s.announce.mu.Lock()
	s.announce.tell = mdns.SetName
	s.announce.mu.Unlock()
	if err := mdns.Run(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("no longer announced on the local network", "err", err)
	}
}
