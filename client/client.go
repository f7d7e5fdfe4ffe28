package client

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/session"
)

// Names of the files in Client.Dir.
const (
	KeyFile   = "key.pem"
	KnownFile = "devices.json"
)

// A Client is configured by its fields, which must not be changed after the
// first call. The zero Client with a Dir is ready: key and devices.json are
// made on first use. Its methods may be called concurrently.
type Client struct {
	Dir      string
	Identity *latchkey.Identity // nil: Dir/key.pem
	Known    *Known             // nil: Dir/devices.json
	Logger   *slog.Logger       // nil: slog.Default()

	// NoDiscovery keeps Dial from searching the local network when the known
	// addresses do not answer.
	NoDiscovery bool

	mu       sync.Mutex // guards what follows
	identity *latchkey.Identity
	known    *Known
	sessions session.Set
	live     int                // sessions in the set
	stop     context.CancelFunc // of the ticker, while live > 0
	network  *network           // while there are bases
	bases    map[latchkey.Fingerprint]*base
	roaming  []*roamer
	closed   bool

	background background
}

var errNoDir = errors.New("client: neither Dir nor the field that replaces it is set")

// OpenIdentity returns the client's identity, made on first use.
func (c *Client) OpenIdentity() (*latchkey.Identity, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.identity != nil:
		return c.identity, nil
	case c.Identity != nil:
		c.identity = c.Identity
		return c.identity, nil
	case c.Dir == "":
		return nil, errNoDir
	}
	id, err := latchkey.OpenOrCreateIdentity(filepath.Join(c.Dir, KeyFile))
	if err != nil {
		return nil, err
	}
	c.identity = id
	return id, nil
}

// OpenKnown returns the file of known devices.
func (c *Client) OpenKnown() (*Known, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.known != nil:
		return c.known, nil
	case c.Known != nil:
		c.known = c.Known
		return c.known, nil
	case c.Dir == "":
		return nil, errNoDir
	}
	known, err := OpenKnown(filepath.Join(c.Dir, KnownFile))
	if err != nil {
		return nil, err
	}
	c.known = known
	return known, nil
}

func (c *Client) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.Default()
	}
	return c.Logger
}

// tend puts s under the care of the client's one ticker, which runs while
// there are sessions, and returns how to end that.
func (c *Client) tend(s *session.Session) (remove func()) {
	out := c.sessions.Add(s)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live++
	if c.live == 1 {
		ctx, stop := context.WithCancel(context.Background())
		c.stop = stop
		go c.sessions.Run(ctx) // ends with the last session
	}
	return func() {
		out()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.live--; c.live == 0 {
			c.stop()
		}
	}
}
