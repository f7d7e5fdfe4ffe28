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

	// PublicAddrs are what peers are told to use for STUN and TURN, host:port, at
	// most 8. None: the address that they dialled.
	PublicAddrs []string

	// Issuers are those whose JWTs open the gate. None: only connect tokens do.
	Issuers []Issuer

	// MetricsFrom are the networks that may read /metrics. None: only this
	// machine, over loopback.
	MetricsFrom []netip.Prefix

	Limits Limits     // zero fields are the defaults documented there
	Ready  func(Info) // called once, when the basestation serves
	Logger *slog.Logger

	mu  sync.Mutex // guards run
	run *station   // nil while not serving
}

// Info is what a serving basestation knows about itself.
type Info struct {
	Fingerprint latchkey.Fingerprint `json:"fingerprint"`
	Addrs       []netip.AddrPort     `json:"addrs"` // bound, for UDP and TCP; wildcards as they are
	PublicAddrs []string             `json:"public_addrs"`
}

// Limits bounds what peers can make a basestation hold. A zero field is its
// default.
type Limits struct {
	Sessions  int // peers connected at once, by UDP; default 20,000, at most 100,000
	Streams   int // TCP connections at once; default 10,000
	PerSource int // peers that are neither device nor let through the gate, from one IPv4 address or IPv6 /56; default 64

	StreamsPerSource int // TCP connections from one IPv4 address or IPv6 /56; default 256
	Handshakes       int // DTLS handshakes in progress; default 256
	PerPrefix        int // of them from one IPv4 address or IPv6 /56; default 32

	Introductions int           // at once; default 50,000
	PerClient     int           // of them, by one client's key; default 32
	PerDevice     int           // of them, with one device; default 512
	WaitMax       time.Duration // for a device to attach; default 10 min

	KeepAlive time.Duration // what devices are told; a peer silent for three times as long is gone; default 25 s
	Drain     time.Duration // after ListenAndServe was told to stop, for relayed sessions to move; default 10 s

	Relay RelayLimits
}

const maxSessions = 100_000

func (l Limits) withDefaults() Limits {
	set(&l.Sessions, 20_000)
	l.Sessions = min(l.Sessions, maxSessions)
	set(&l.Streams, 10_000)
	set(&l.PerSource, 64)
	set(&l.StreamsPerSource, 256)
	set(&l.Introductions, 50_000)
	set(&l.PerClient, 32)
	set(&l.PerDevice, 512)
	set(&l.WaitMax, 10*time.Minute)
	set(&l.KeepAlive, 25*time.Second)
	set(&l.Drain, 10*time.Second)
	return l
}

// set gives a field that is not positive its default.
func set[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
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
