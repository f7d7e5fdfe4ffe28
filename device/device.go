package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/bearer"
	"github.com/latchkey-dev/latchkey/pairing"
)

// DefaultAddr is where a device listens when Device.Addr is empty: UDP port
// 5690 on every address, IPv4 and IPv6.
const DefaultAddr = ":5690"

// Names of the files in Device.Dir.
const (
	KeyFile    = "key.pem"
	AccessFile = "access.db"
	AuditFile  = "audit.jsonl"
)

// A Device is configured by its fields, which must not be changed once it
// serves; the Set methods change what may change. The zero Device with a Dir
// is a working device that nobody can pair with.
type Device struct {
	// Dir holds key.pem and access.db, both made on first use, unless Identity
	// and Access are set.
	Dir      string
	Identity *latchkey.Identity // nil: Dir/key.pem
	Access   *acl.Store         // nil: Dir/access.db; stays open after Serve if it was given

	ID   latchkey.DeviceID // zero: latchkey.DefaultDeviceID
	Name string            // for people, shown in discovery; "": the id
	Addr string            // UDP host:port; "": DefaultAddr

	// Basestations are addresses, HOST:PORT, of the basestation that introduces
	// clients from other networks; BasestationKey is its fingerprint. None: the
	// device is reached on its own network only.
	Basestations   []string
	BasestationKey latchkey.Fingerprint

	// Pairing says which modes are open from the start. LocalInitial closes
	// for good once somebody has paired by it.
	Pairing pairing.Modes

	// Authorize decides on every operation; see AuthorizeFunc. Nil: the
	// policies in Access decide. Without Authorize, Access and Dir the device
	// refuses to start.
	Authorize AuthorizeFunc

	// Tokens are the issuers of tokens by which keys of no user may log in.
	// Nil: the device takes no tokens.
	Tokens []TokenIssuer

	// Audit is told of each event, and must not block for long. Nil: the events
	// are written to Dir/audit.jsonl, see AuditFile; without Dir to the log only.
	Audit func(acl.Event)

	Handler  Handler   // answers CoAP requests that no built-in resource or route takes; nil: 4.04
	Services []Service // what tunnels may lead to
	Routes   []Route   // CoAP paths that are forwarded to upstream servers

	Limits      Limits     // zero fields are the defaults documented there
	NoDiscovery bool       // do not announce the device by mDNS
	Ready       func(Info) // called once, when the device serves
	Logger      *slog.Logger

	bearer bearer.Options   // for Tokens; tests fetch keys from this machine
	wall   func() time.Time // nil: the machine's clock

	mu  sync.Mutex // guards run
	run *server    // nil while not serving
}

// A Service is a named tunnel target. Clients only ever send the ID.
type Service struct {
	ID     string `json:"id"`     // [a-z0-9][a-z0-9-]{0,62}
	Target string `json:"target"` // tcp://HOST:PORT, udp://HOST:PORT or unix:///PATH
}

// A Route forwards the CoAP paths below Path to an upstream CoAP or HTTP
// server: {"/cam/**", "http://127.0.0.1:8080"}.
type Route struct {
	Path string `json:"path"`
	To   string `json:"to"`
}

// Limits bounds what peers can make a device hold. A zero field is its default.
type Limits struct {
	Sessions       int           // authenticated sessions at once; default 256. One user has an eighth of them or 8 at most; 4 are for administrators
	Unpaired       int           // of them, with keys that belong to no user; default 16, of which 4 from one part of the network
	UnpairedLife   time.Duration // of a session whose key stays unpaired; default 2 min
	Streams        int           // open tunnels of one session; default 256
	Body           int           // bytes of one CoAP request or response; default 1 MiB
	Observations   int           // by all sessions; default 1,024
	AuthorizeTime  time.Duration // that Authorize may take before it counts as a refusal; default 10 s
	AuthorizeCalls int           // of Authorize at once; more are refused; default 256
	DialTime       time.Duration // to reach a tunnel's target; default 10 s
	Refusals       int           // requests and tunnels of a key that may be refused in a minute, before its sessions are closed with latchkey.ErrAbuse; default 60
}

func (l Limits) withDefaults() Limits {
	set(&l.Sessions, 256)
	set(&l.Unpaired, 16)
	set(&l.UnpairedLife, 2*time.Minute)
	set(&l.Streams, 256)
	set(&l.Body, 1<<20)
	set(&l.Observations, 1024)
	set(&l.AuthorizeTime, 10*time.Second)
	set(&l.AuthorizeCalls, 256)
	set(&l.DialTime, 10*time.Second)
	set(&l.Refusals, 60)
	return l
}

// refusals is the budget of one key.
func (l Limits) refusals() *rate.Limiter {
	return rate.NewLimiter(rate.Every(time.Minute/time.Duration(l.Refusals)), l.Refusals)
}

// set gives a field that is not positive its default.
func set[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Info is what a serving device knows about itself.
type Info struct {
	ID          latchkey.DeviceID    `json:"id"`
	Name        string               `json:"name"`
	Fingerprint latchkey.Fingerprint `json:"fingerprint"`
	Addrs       []netip.AddrPort     `json:"addrs"`       // bound, wildcards as they are
	PairingURL  *latchkey.PairingURL `json:"pairing_url"` // without secrets until a mode brings one
}

// ListenAndServe listens on d.Addr and serves until ctx ends. Then it says
// goodbye to its peers, waits for every goroutine it started and returns nil;
// any other return is a failure to start or to go on.
func (d *Device) ListenAndServe(ctx context.Context) error {
	s, err := d.newServer()
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.listen(); err != nil {
		return err
	}
	d.mu.Lock()
	if d.run != nil {
		d.mu.Unlock()
		return fmt.Errorf("device: already serving")
	}
	d.run = s
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.run = nil
	}()
	return s.serve(ctx)
}

// OpenIdentity returns the device's identity, made in Dir on first use.
func (d *Device) OpenIdentity() (*latchkey.Identity, error) {
	if d.Identity != nil {
		return d.Identity, nil
	}
	if d.Dir == "" {
		return nil, fmt.Errorf("device: neither Dir nor Identity is set")
	}
	return latchkey.OpenOrCreateIdentity(filepath.Join(d.Dir, KeyFile))
}

// openAccess returns the store. It makes one only at first start, when there is
// no key yet either: a list that has gone missing later must not come back
// empty, because an empty one lets the next comer become owner.
func (d *Device) openAccess() (*acl.Store, error) {
	if d.Access != nil || d.Dir == "" {
		return d.Access, nil
	}
	path := filepath.Join(d.Dir, AccessFile)
	store, err := acl.Open(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return store, err
	}
	if _, keyErr := os.Lstat(filepath.Join(d.Dir, KeyFile)); !errors.Is(keyErr, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w, but the device has a key already: restore the file, or remove both to start anew", err)
	}
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return nil, err
	}
	return acl.Create(path)
}

// DeviceID returns the id that the device goes by: ID, or the default for its key.
func (d *Device) DeviceID(key latchkey.Fingerprint) latchkey.DeviceID {
	if d.ID == (latchkey.DeviceID{}) {
		return latchkey.DefaultDeviceID(key)
	}
	return d.ID
}

func (d *Device) logger() *slog.Logger {
	if d.Logger == nil {
		return slog.Default()
	}
	return d.Logger
}
