package client

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/route"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/session"
)

// lanHops is the hop limit of what we send: a device takes a peer for local
// only if no router lowered it (RFC 5082).
const lanHops = 255

// A link is one session to a device and the ways below it.
type link struct {
	client  *Client
	device  Device
	options DialOptions
	session *session.Session
	carrier *route.Carrier
	roamer  *roamer      // nil: the session stays where it began
	tunnels atomic.Int64 // open through this link
	done    chan struct{}
	work    sync.WaitGroup

	loggedIn login // the first token; written before anybody else has the link

	mu      sync.Mutex    // guards what follows, and the basestation and token in device
	adopted *introduction // that brought the newest paths; nil: none did
	over    bool          // nothing is started any more
}

// open dials one address and makes sure that the key is want. It returns after
// the handshake, or with *latchkey.IdentityError when another key answered.
func (c *Client) open(ctx context.Context, dev Device, o DialOptions, to netip.AddrPort) (*link, error) {
	identity, err := c.OpenIdentity()
	if err != nil {
		return nil, err
	}
	var proven atomic.Bool
	l, err := c.handshake(ctx, identity, dev, o, to, func(p secure.Peer) error {
		if p.Key != dev.Key {
			return &latchkey.IdentityError{Device: dev.Alias, Got: p.Key, Want: []latchkey.Fingerprint{dev.Key}}
		}
		proven.Store(true)
		return nil
	})
	if proven.Load() && errors.Is(err, latchkey.ErrHandshakeRefused) {
		err = &refusedError{err}
	}
	return l, err
}

// A refusedError is the word of the device itself, so no other address of it
// needs to be tried.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

func (c *Client) handshake(ctx context.Context, identity *latchkey.Identity, dev Device, o DialOptions, to netip.AddrPort, verify func(secure.Peer) error) (*link, error) {
	local := "0.0.0.0:0"
	if to.Addr().Is6() {
		local = "[::]:0"
	}
	sock, err := packet.Listen(local, packet.Config{HopLimit: lanHops})
	if err != nil {
		return nil, err
	}
	carrier := route.NewCarrier()
	path := route.LocalPath(func(b []byte) error { return sock.Send(b, to, netip.Addr{}) }, to)
	carrier.Add(path)
	h := secure.NewClient(secure.Config{Identity: identity, Verify: verify, Log: c.logger()}, carrier.Send)
	var up atomic.Pointer[secure.Conn]
	reading := make(chan struct{})
	go func() { // ends when the socket is closed
		defer close(reading)
		_ = sock.Serve(context.Background(), func(b []byte, m packet.Meta) {
			if m.Src != to {
				return
			}
			if conn := up.Load(); conn == nil {
				h.Deliver(b, m)
			} else if conn.Deliver(b, m) {
				carrier.Heard(path)
			}
		})
	}()
	conn, err := h.Run(ctx)
	if err != nil {
		_ = sock.Close()
		<-reading
		return nil, err
	}
	up.Store(conn)
	l := c.newLink(conn, dev, carrier, o)
	l.serve(func() {
		_ = sock.Close()
		<-reading
	})
	return l, nil
}

// newLink makes a session of an established association. It is served by
// serve.
func (c *Client) newLink(conn *secure.Conn, dev Device, carrier *route.Carrier, o DialOptions) *link {
	l := &link{client: c, device: dev, options: o, carrier: carrier, done: make(chan struct{})}
	tick := carrier.Tick
	if len(dev.Basestations) > 0 && o.Via != ViaLocal {
		l.roamer = &roamer{link: l, nudge: make(chan struct{}, 1)}
		tick = func(now time.Time) {
			carrier.Tick(now)
			l.roamer.tick(now)
		}
	}
	l.session = session.New(conn, session.Config{Client: true, Roams: l.roamer != nil, Tick: tick, Log: c.logger()})
	return l
}

// serve carries the session on a goroutine of its own; end takes down what is
// below it.
func (l *link) serve(end func()) {
	remove := l.client.tend(l.session)
	l.client.roam(l)
	go func() { // ends with the session
		defer close(l.done)
		err := l.session.Serve()
		remove()
		l.mu.Lock()
		l.over = true
		l.mu.Unlock()
		l.work.Wait()
		l.mu.Lock()
		adopted := l.adopted
		l.mu.Unlock()
		if adopted != nil {
			adopted.close()
		}
		end()
		l.client.logger().Debug("session down", "device", l.device.Alias, "err", err)
	}()
}

// start runs f on a goroutine that ends with the session or before, unless the
// session is over.
func (l *link) start(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.work.Go(f)
	}
}

// known returns the device as it is known now.
func (l *link) known() Device {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.device.clone()
}

// isLocal reports whether the session began on the device's own network.
func (l *link) isLocal() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.adopted == nil
}

// remote is where datagrams go now.
func (l *link) remote() netip.AddrPort {
	_, remote, _ := l.carrier.Current()
	return remote
}

// close ends the session and waits for everything below it.
func (l *link) close() {
	l.session.Close(nil)
	<-l.done
}

// cause says why the link ended; nil while it lives.
func (l *link) cause() error { return ending(context.Cause(l.session.Context())) }
