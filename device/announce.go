package device

import (
	"context"
	"sync"

	"github.com/latchkey-dev/latchkey/internal/discover"
	"github.com/latchkey-dev/latchkey/internal/roster"
)

// An announcer holds the device's configured name and who tells the name to the
// network.
type announcer struct {
	mu   sync.Mutex // guards what follows
	name string
	tell func(name string) error // nil while the device is not announced
}

// name returns the name for people: the one that an administrator gave from
// afar, the configured one, or the id.
func (s *server) name() string {
	if s.access != nil {
		if given := roster.Name(s.access); given != "" {
			return given
		}
	}
	s.announce.mu.Lock()
	defer s.announce.mu.Unlock()
	if s.announce.name == "" {
		return s.id.String()
	}
	return s.announce.name
}

// rename changes the configured name, "" to the id.
func (s *server) rename(name string) error {
	s.announce.mu.Lock()
	s.announce.name = name
	s.announce.mu.Unlock()
	return s.renamed()
}

// renamed tells the network the name that holds now.
func (s *server) renamed() error {
	s.announce.mu.Lock()
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
