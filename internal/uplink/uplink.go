package uplink

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/session"
)

// A Socket is the one UDP socket of a peer, which the uplink shares with
// everything else the peer does.
type Socket interface {
	// Send sends one datagram; see packet.Conn.
	Send(b []byte, to netip.AddrPort, from netip.Addr) error
	// Register makes deliver take the DTLS datagrams that come from remote, in
	// place of an earlier registration for it, until its own unregister is
	// called. None of them blocks.
	Register(remote netip.AddrPort, deliver func(b []byte, m packet.Meta)) (unregister func())
}

// Transports says which ways Dial may take.
type Transports int

// Transports. Auto prefers UDP.
const (
	Auto Transports = iota
	UDP
	TLS
)

// Names of what carries an Uplink, as Uplink.Transport returns them.
const (
	OverUDP = "udp"
	OverTLS = "tls"
)

// Config says where the basestation is and who we are.
type Config struct {
	Identity *latchkey.Identity   // the key that we prove; required
	Addrs    []string             // "host:port" of the basestation, best first; required
	Key      latchkey.Fingerprint // the basestation's; required

	Socket     Socket       // for UDP; nil: UDP is not tried
	Transports Transports   // which ways to try
	Handler    coap.Handler // answers the basestation's requests; nil: 4.04
	MaxBody    int          // of a CoAP message, bytes; 0: internal/coap's default

	// Proxy returns the HTTP proxy for an https URL, nil for none. Nil is
	// http.ProxyFromEnvironment: HTTPS_PROXY and NO_PROXY.
	Proxy func(*url.URL) (*url.URL, error)
	// ListenPacket opens the socket for a relay over UDP. Nil: the system's.
	ListenPacket func(ctx context.Context, network string) (net.PacketConn, error)
	Log          *slog.Logger // nil: slog.Default()
}

func (c Config) check() error {
	switch {
	case c.Identity == nil:
		return errors.New("uplink: Config.Identity is required")
	case c.Key.IsZero():
		return errors.New("uplink: Config.Key is required")
	case len(c.Addrs) == 0:
		return errors.New("uplink: Config.Addrs is required")
	case c.Transports == UDP && c.Socket == nil:
		return errors.New("uplink: Config.Socket is required for UDP")
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Proxy == nil {
		c.Proxy = func(u *url.URL) (*url.URL, error) { return http.ProxyFromEnvironment(&http.Request{URL: u}) }
	}
	if c.ListenPacket == nil {
		c.ListenPacket = func(ctx context.Context, network string) (net.PacketConn, error) {
			var l net.ListenConfig
			return l.ListenPacket(ctx, network, ":0")
		}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// An Uplink is one connection to the basestation. Its methods may be called
// concurrently.
type Uplink struct {
	transport string
	remote    netip.AddrPort
	coap      *coap.Endpoint
	stop      func()
	relay     func(ctx context.Context) (net.PacketConn, net.Addr, error)

	roundTrip atomic.Int64 // nanoseconds; see Took

	ctx   context.Context
	end   context.CancelCauseFunc
	group sync.WaitGroup
}

func newUplink(transport string, remote netip.AddrPort) *Uplink {
	u := &Uplink{transport: transport, remote: remote}
	u.ctx, u.end = context.WithCancelCause(context.Background())
	return u
}

// Transport returns OverUDP or OverTLS.
func (u *Uplink) Transport() string { return u.transport }

// Remote returns the basestation's address; the zero AddrPort if only a proxy
// knows it.
func (u *Uplink) Remote() netip.AddrPort { return u.remote }

// CoAP returns the endpoint for requests.
func (u *Uplink) CoAP() *coap.Endpoint { return u.coap }

// Context ends with the uplink. Its cause is net.ErrClosed after Close, a
// *latchkey.RemoteError when the basestation said why it left,
// session.ErrEnded when it left without a word, session.ErrSilent when it was
// not heard any more, else an error of the connection.
func (u *Uplink) Context() context.Context { return u.ctx }

// DialRelay opens a connection of its own to the relay of the basestation, by
// the way that the uplink took: a UDP socket, or TLS with messages framed as
// RFC 8656 section 3.1 says. It returns the relay's address too; writes reach
// the relay whatever address they name if it is TLS.
func (u *Uplink) DialRelay(ctx context.Context) (net.PacketConn, net.Addr, error) {
	return u.relay(ctx)
}

// Close ends the uplink and returns after its last goroutine. A Handler must
// heed its context and must not call Close.
func (u *Uplink) Close() {
	u.stop()
	u.group.Wait()
}

// ending is the cause for which an uplink ended, from what its session or
// stream ended with.
func ending(err error) error {
	switch {
	case err == nil:
		return net.ErrClosed
	case errors.Is(err, io.EOF), errors.Is(err, coap.ErrReleased):
		return session.ErrEnded
	}
	return err
}
