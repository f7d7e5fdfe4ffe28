package secure

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
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
	link  *link
	state *dtls.State // by pointer, so that printing a Conn prints no secret
	peer  Peer
	log   *slog.Logger
	heard atomic.Int64 // nanoseconds since the epoch

	out, in *protection
	number  atomic.Uint64 // of the next record that we send
	over    atomic.Bool   // nothing more is sent or received

	receiving sync.Mutex     // held while a datagram is opened and handled; guards what follows
	window    window         // of the records that came
	copies    copies         // of these
	handler   func(b []byte) // of Serve, while it runs
	confirmed bool           // settled is closed

	settled chan struct{}          // closed when the peer is known to have our last flight
	done    chan struct{}          // closed when the session is over, by either side
	stop    sync.Once              // closes done
	once    sync.Once              // our end
	heed    atomic.Pointer[func()] // of Watch
	mu      sync.Mutex             // guards what follows
	ended   bool
	cause   error // of our own end; nil for Close

	association *dtls.Conn // the library's; nil once it is not needed any more
}

// Numbers of records are nonces, so none is used twice. The library numbers its
// Finished and the repetitions of it from 0: at most maxLibrary when the
// handshake ends, and then a record in each of maxRepeated datagrams. Ours
// begin well above and end with the field.
const (
	maxLibrary  = 1 << 10
	firstNumber = 1 << 16
	lastNumber  = 1<<48 - 1
)

func newConn(association *dtls.Conn, l *link, state *dtls.State, peer Peer, log *slog.Logger) (*Conn, error) {
	c := &Conn{
		association: association, link: l, state: state, peer: peer, log: log,
		settled: make(chan struct{}), done: make(chan struct{}),
	}
	var err error
	if c.out, c.in, err = protect(state); err != nil {
		return nil, err
	}
	c.number.Store(firstNumber)
	c.heard.Store(time.Now().UnixNano())
	return c, nil
}

// Peer returns what the handshake proved.
func (c *Conn) Peer() Peer { return c.peer }

// Deliver takes a datagram that arrived for this association, by any path. The
// handler of Serve runs before it returns; before Serve has begun, up to 1 MiB
// is queued and the rest is lost. It reports whether the peer's keys vouch for
// something in the datagram that had not come before, or had come from another
// source just now: the path is alive then, though it brought no news.
func (c *Conn) Deliver(b []byte, m packet.Meta) (authentic bool) { return c.link.deliver(b, m) }

// Watch makes a Server call f after each authentic datagram from the address by
// which it knows the session. What comes by other paths their owner sees.
func (c *Conn) Watch(f func()) { c.heed.Store(&f) }

// SetSend replaces the function that sends datagrams to the peer, because there
// is another path to it.
func (c *Conn) SetSend(send func([]byte) error) { c.link.setSend(send) }

// LastHeard returns when the peer last sent something that its keys vouch for;
// at first, when the handshake ended.
func (c *Conn) LastHeard() time.Time { return time.Unix(0, c.heard.Load()) }

// Write sends one datagram of at most MaxPayload bytes, else the error matches
// latchkey.ErrTooLarge. That the path did not take it is not an error but
// loss. After the end of the session it returns net.ErrClosed.
func (c *Conn) Write(b []byte) (int, error) {
	if len(b) > MaxPayload {
		return 0, fmt.Errorf("secure: datagram of %d bytes: %w", len(b), latchkey.ErrTooLarge)
	}
	if c.over.Load() || !c.transmit(typeApplicationData, b) {
		return 0, net.ErrClosed
	}
	return len(b), nil
}

// transmit sends one record. It reports false when the numbers are used up.
func (c *Conn) transmit(kind byte, payload []byte) bool {
	number := c.number.Add(1) - 1
	if number > lastNumber {
		return false
	}
	x := scratches.Get().(*scratch)
	c.link.transmit(c.out.seal(x, kind, number, payload))
	scratches.Put(x)
	return true
}

// Serve calls h with each datagram that the peer sent, in the order of their
// arrival and one at a time, until the session ends. It is Deliver that runs h,
// so h must not block; the bytes are valid during the call only. Serve returns
// nil after Close, io.EOF after the peer ended the session, else the cause,
// such as ErrReplaced. No call of h outlasts it.
func (c *Conn) Serve(h func(b []byte)) error {
	c.begin(h)
	select {
	case <-c.done:
	case <-c.settled:
		_ = c.retire() // what it says of its end does not concern the session
		<-c.done
	}
	c.receiving.Lock()
	c.handler = nil
	c.receiving.Unlock()
	if ended, cause := c.end(); ended {
		return cause
	}
	_ = c.finish(false, nil)
	return io.EOF
}

// begin opens what came before, and makes h take what comes from now on.
func (c *Conn) begin(h func(b []byte)) {
	c.receiving.Lock()
	defer c.receiving.Unlock()
	c.handler = h
	if c.link.client { // the last flight is the server's
		c.confirmLocked()
	}
	x := scratches.Get().(*scratch)
	defer scratches.Put(x)
	for early := c.link.serve(c); early != nil; early = c.link.serve(c) {
		c.openAll(x, early.data[:early.size], netip.AddrPort{})
		chunks.Put(early)
	}
}

// receive opens a datagram that came from src and passes on what it carries.
func (c *Conn) receive(b []byte, src netip.AddrPort) (authentic bool) {
	x := scratches.Get().(*scratch)
	defer scratches.Put(x)
	c.receiving.Lock()
	defer c.receiving.Unlock()
	return c.openAll(x, b, src)
}

// openAll opens the records of a datagram. The caller holds receiving.
func (c *Conn) openAll(x *scratch, b []byte, src netip.AddrPort) (authentic bool) {
	for len(b) > 0 && c.handler != nil && !c.over.Load() {
		r, rest, ok := nextRecord(b)
		if !ok {
			break
		}
		b = rest
		switch {
		case !c.link.admits(open, r, c.link.client):
		case r.kind == typeHandshake:
			c.link.repeat(r)
		default:
			authentic = c.open(x, r, src) || authentic
		}
	}
	return authentic
}

// open handles one record, if it is genuine and new. It reports true for a copy
// that counts too.
func (c *Conn) open(x *scratch, r record, src netip.AddrPort) bool {
	number := r.sequence()
	if !c.window.fresh(number) {
		o := c.copies.of(number, src)
		if o == nil {
			return false
		}
		_, genuine := c.in.open(x, r)
		if genuine {
			*o = original{at: o.at} // counts once
		}
		return genuine
	}
	payload, ok := c.in.open(x, r)
	if !ok {
		return false
	}
	c.window.mark(number)
	now := time.Now()
	c.heard.Store(now.UnixNano())
	c.copies.came(number, src, now)
	c.confirmLocked() // a client sends nothing before it has our Finished
	switch {
	case r.kind == typeApplicationData:
		c.handler(payload)
	case len(payload) == 2 && (payload[0] == alertFatal || payload[1] == alertCloseNotify):
		c.handler = nil
		c.stop.Do(func() { close(c.done) })
	default: // a warning, which ends nothing
		c.log.Debug("dtls warning", "op", "read", "peer", c.peer.Key)
	}
	return true
}

// confirmLocked notes that the peer has all of the handshake. The caller holds
// receiving.
func (c *Conn) confirmLocked() {
	if !c.confirmed {
		c.confirmed = true
		close(c.settled)
	}
}

// retire ends the library's part in the session, which is to repeat our last
// flight for a peer that missed it. It would hold three goroutines and most of
// the memory of an idle session. It may be called again.
func (c *Conn) retire() error {
	c.mu.Lock()
	association := c.association
	c.association = nil
	c.mu.Unlock()
	if association == nil {
		return nil
	}
	c.link.release()
	return association.Close()
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

func (c *Conn) close(cause error) error { return c.finish(true, cause) }

// finish ends the session, for a cause of ours or because the peer has ended
// it, and says goodbye unless the link is silent.
func (c *Conn) finish(ours bool, cause error) (err error) {
	c.once.Do(func() {
		c.mu.Lock()
		c.ended, c.cause = ours, cause
		c.mu.Unlock()
		c.transmit(typeAlert, []byte{alertWarning, alertCloseNotify})
		c.over.Store(true)
		c.stop.Do(func() { close(c.done) })
		c.link.silence()
		err = c.retire()
	})
	return err
}
