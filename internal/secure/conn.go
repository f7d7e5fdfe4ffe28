package secure

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/packet"
)

// MaxPayload is the largest datagram that a Conn carries, in bytes. What the
// path carries is less.
const MaxPayload = maxRecord - overhead

// ErrReplaced is the cause of a session whose peer made a new one from the
// same address.
var ErrReplaced = errors.New("secure: peer began a new session")

// A Conn is an established association with a peer whose key is proven. Its
// methods are safe for concurrent use, except that Serve is called once.
type Conn struct {
	association *dtls.Conn
	link        *link
	state       *dtls.State // by pointer, so that printing a Conn prints no secret
	peer        Peer
	log         *slog.Logger
	heard       atomic.Int64 // nanoseconds since the epoch

	once  sync.Once
	mu    sync.Mutex
	ended bool
	cause error // of our own end; nil for Close
}

func newConn(association *dtls.Conn, l *link, state *dtls.State, peer Peer, log *slog.Logger) *Conn {
	c := &Conn{association: association, link: l, state: state, peer: peer, log: log}
	c.heard.Store(time.Now().UnixNano())
	return c
}

// Peer returns what the handshake proved.
func (c *Conn) Peer() Peer { return c.peer }

// Deliver takes a datagram that arrived for this association. It copies what
// it keeps and never blocks: when the queue of 1 MiB is full, the datagram is
// lost.
func (c *Conn) Deliver(b []byte, m packet.Meta) { c.link.deliver(b, m) }

// LastHeard returns when the peer last sent something that its keys vouch for,
// as far as Serve has come; at first, when the handshake ended.
func (c *Conn) LastHeard() time.Time { return time.Unix(0, c.heard.Load()) }

// Write sends one datagram of at most MaxPayload bytes, else the error matches
// latchkey.ErrTooLarge. That the path did not take it is not an error but
// loss. After the end of the session it returns net.ErrClosed.
func (c *Conn) Write(b []byte) (int, error) {
	if len(b) > MaxPayload {
		return 0, fmt.Errorf("secure: datagram of %d bytes: %w", len(b), latchkey.ErrTooLarge)
	}
	n, err := c.association.Write(b)
	if errors.Is(err, dtls.ErrConnClosed) || errors.Is(err, net.ErrClosed) {
		return 0, net.ErrClosed
	}
	return n, err
}

// Serve calls h with each datagram that the peer sent, in the order of their
// arrival, until the session ends. The bytes are valid during the call only;
// while h runs, datagrams queue. Serve returns nil after Close, io.EOF after
// the peer ended the session, else the cause, such as ErrReplaced.
func (c *Conn) Serve(h func(b []byte)) error {
	b := make([]byte, maxRecord)
	for {
		n, err := c.association.Read(b)
		switch {
		case err == nil:
			c.heard.Store(time.Now().UnixNano())
			h(b[:n])
		case errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed):
			if ended, cause := c.end(); ended {
				return cause
			}
			return io.EOF
		default: // a warning from the peer, which ends nothing
			c.log.Debug("dtls warning", "op", "read", "peer", c.peer.Key, "err", err)
		}
	}
}

func (c *Conn) end() (ended bool, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended, c.cause
}

// Export returns n bytes of keying material that only this peer and we have,
// for the given label and no context (RFC 5705).
func (c *Conn) Export(label string, n int) ([]byte, error) {
	if n <= 0 || n > maxRecord {
		return nil, fmt.Errorf("secure: cannot export %d bytes", n)
	}
	return c.state.ExportKeyingMaterial(label, nil, n)
}

// Close tells the peer goodbye, once and without waiting for an answer, and
// ends the session. It may be called again.
func (c *Conn) Close() error { return c.close(nil) }

// abort ends the session without a word to the peer.
func (c *Conn) abort(cause error) {
	c.link.silence()
	_ = c.close(cause)
}

func (c *Conn) close(cause error) (err error) {
	c.once.Do(func() {
		c.mu.Lock()
		c.ended, c.cause = true, cause
		c.mu.Unlock()
		err = c.association.Close()
	})
	return err
}
