package basestation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/bearer"
	"github.com/latchkey-dev/latchkey/internal/registry"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// DefaultAddr is where a basestation listens when Server.Addr is empty: UDP and
// TCP port 5684 on every address, IPv4 and IPv6.
const DefaultAddr = ":5684"

// Names of the files in Server.Dir.
const (
	KeyFile      = "key.pem"
	RegistryFile = "registry.db"
)

// ErrNotServing reports a call that needs a basestation that serves.
var ErrNotServing = errors.New("basestation: not serving")

// A Server is configured by its fields, which must not be changed once it serves.
// The zero Server with a Dir is a working basestation that knows no device.
type Server struct {
	// Dir holds key.pem and registry.db, both made on first use, unless Identity
	// and Registry are set.
	Dir      string
	Identity *latchkey.Identity // nil: Dir/key.pem
	Registry Registry           // nil: Dir/registry.db; not closed after serving if it was given

	// Presence knows which devices are attached. Nil: those attached here.
	Presence Presence

	Addr string // host:port for UDP and TCP; "": DefaultAddr

	// PublicAddrs are where peers are told to send STUN requests, host:port, at
	// most 8. They use those that are IP addresses, and if there are none the
	// address that they reached the basestation at. TURN is at that one always.
	PublicAddrs []string

	// Issuers are those whose JWTs open the gate. None: only connect tokens do.
	Issuers []Issuer

	// MetricsFrom are the networks that may read /metrics. None: only this
	// machine, over loopback.
	MetricsFrom []netip.Prefix

	Limits Limits     // zero fields are the defaults documented there
	Ready  func(Info) // called once, when the basestation serves
	Logger *slog.Logger

	bearer  bearer.Options // but for Log; tests fetch keys from this machine
	silence time.Duration  // a peer may keep; 0: maxSilence

	mu  sync.Mutex // guards run
	run *station   // nil while not serving
}

// Info is what a serving basestation knows about itself.
type Info struct {
	Fingerprint latchkey.Fingerprint `json:"fingerprint"`
	Addrs       []netip.AddrPort     `json:"addrs"` // bound, for UDP and TCP; wildcards as they are
	PublicAddrs []string             `json:"public_addrs"`
}

// ListenAndServe serves until ctx ends. Then attached devices are told to move,
// relayed sessions have Limits.Drain to do so, and it returns nil after its last
// goroutine. Any other return is an error.
func (srv *Server) ListenAndServe(ctx context.Context) error {
	s, err := srv.newStation()
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.listen(); err != nil {
		return err
	}
	srv.mu.Lock()
	if srv.run != nil {
		srv.mu.Unlock()
		return errors.New("basestation: already serving")
	}
	srv.run = s
	srv.mu.Unlock()
	defer func() {
		srv.mu.Lock()
		srv.run = nil
		srv.mu.Unlock()
	}()
	return s.serve(ctx)
}

// OpenIdentity returns Identity, or the key in Dir, which it makes if there is
// none.
func (srv *Server) OpenIdentity() (*latchkey.Identity, error) {
	switch {
	case srv.Identity != nil:
		return srv.Identity, nil
	case srv.Dir == "":
		return nil, errors.New("basestation: set Dir or Identity")
	}
	return latchkey.OpenOrCreateIdentity(filepath.Join(srv.Dir, KeyFile))
}

// openRegistry returns the registry and how to close it.
func (srv *Server) openRegistry() (Registry, func() error, error) {
	switch {
	case srv.Registry != nil:
		return srv.Registry, func() error { return nil }, nil
	case srv.Dir == "":
		return nil, nil, errors.New("basestation: set Dir or Registry")
	}
	path := filepath.Join(srv.Dir, RegistryFile)
	store, err := registry.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		store, err = registry.Create(path)
	}
	if err != nil {
		return nil, nil, err
	}
	return store, store.Close, nil
}

func (srv *Server) checkPublicAddrs() error {
	probe := signal.Connected{Session: signal.SessionID{1}, Servers: srv.PublicAddrs}
	if err := probe.Valid(); err != nil {
		return fmt.Errorf("basestation: public addresses are at most %d of HOST:PORT", signal.MaxServers)
	}
	return nil
}

// serving returns what runs, or ErrNotServing.
func (srv *Server) serving() (*station, error) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.run == nil {
		return nil, ErrNotServing
	}
	return srv.run, nil
}
