package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func identity(t testing.TB) *latchkey.Identity {
	t.Helper()
	id, err := latchkey.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A station is as much of a basestation as an uplink needs: CoAP on DTLS and
// on TLS, one port number for both, and an echo where the relay would be.
type station struct {
	t      testing.TB
	id     *latchkey.Identity
	udp    packet.Conn
	tcp    net.Listener
	dtls   *secure.Server
	addr   string
	refuse atomic.Bool // every key
	deaf   atomic.Bool // to UDP

	mu       sync.Mutex
	sessions map[*session.Session]bool
	streams  map[*coap.Stream]bool
	conns    map[net.Conn]bool
	keys     []latchkey.Fingerprint
	group    sync.WaitGroup
}

func newStation(t testing.TB) *station {
	t.Helper()
	s := &station{
		t: t, id: identity(t), sessions: map[*session.Session]bool{},
		streams: map[*coap.Stream]bool{}, conns: map[net.Conn]bool{},
	}
	s.listen()
	s.dtls = &secure.Server{
		Config: secure.Config{Identity: s.id, Verify: func(p secure.Peer) error { return s.admit(p.Key) }, Log: quiet},
		Send:   s.udp.Send,
		Accept: s.acceptDTLS,
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.group.Go(func() {
		_ = s.udp.Serve(ctx, func(b []byte, m packet.Meta) {
			if !s.deaf.Load() {
				s.dtls.Deliver(b, m)
			}
		})
	})
	s.group.Go(s.acceptTLS)
	t.Cleanup(func() {
		cancel()
		_ = s.udp.Close()
		_ = s.tcp.Close()
		s.mu.Lock()
		for c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.dtls.Close()
		s.group.Wait()
	})
	return s
}

// listen finds a port number that is free for UDP and TCP.
func (s *station) listen() {
	for range 50 {
		udp, err := packet.Listen("127.0.0.1:0", packet.Config{})
		if err != nil {
			s.t.Fatal(err)
		}
		s.addr = udp.LocalAddrs()[0].String()
		if s.tcp, err = net.Listen("tcp", s.addr); err == nil {
			s.udp = udp
			return
		}
		_ = udp.Close()
	}
	s.t.Fatal("no port is free for both")
}

var errUnknown = errors.New("unknown key")

func (s *station) admit(key latchkey.Fingerprint) error {
	if s.refuse.Load() {
		return errUnknown
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, key)
	return nil
}

func (s *station) handle(_ context.Context, r *coap.Request) *coap.Response {
	a := coap.NewResponse(coap.Content)
	a.Body = r.Body
	return a
}

func (s *station) acceptDTLS(c *secure.Conn) {
	x := session.New(c, session.Config{Handler: s.handle, Log: quiet})
	s.mu.Lock()
	s.sessions[x] = true
	s.mu.Unlock()
	_ = x.Serve()
	s.mu.Lock()
	delete(s.sessions, x)
	s.mu.Unlock()
}

func (s *station) acceptTLS() {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{s.id.TLSCertificate()},
		ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{protocolCoAP, protocolTURN},
		VerifyConnection: func(state tls.ConnectionState) error {
			key, err := latchkey.FingerprintOf(state.PeerCertificates[0].PublicKey)
			if err != nil {
				return err
			}
			return s.admit(key)
		},
	}
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.group.Go(func() {
			defer c.Close()
			s.serveTLS(tls.Server(c, cfg))
		})
	}
}

func (s *station) serveTLS(c *tls.Conn) {
	if err := c.Handshake(); err != nil {
		return
	}
	if c.ConnectionState().NegotiatedProtocol == protocolTURN {
		_, _ = io.Copy(c, c)
		return
	}
	x := coap.NewStream(c, coap.Config{Handler: s.handle, Log: quiet})
	s.mu.Lock()
	s.streams[x] = true
	s.mu.Unlock()
	_ = x.Serve()
	s.mu.Lock()
	delete(s.streams, x)
	s.mu.Unlock()
}

// live returns how many peers are connected by UDP and by TLS.
func (s *station) live() (udp, tls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions), len(s.streams)
}

// seen returns the keys that were accepted.
func (s *station) seen() []latchkey.Fingerprint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keys)
}

// all returns the members of one of the station's sets.
func all[T comparable](s *station, set map[T]bool) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(set))
}

// A socket is the UDP socket of a peer.
type socket struct {
	conn  packet.Conn
	group sync.WaitGroup
	err   error // of every Send, when not nil

	mu sync.Mutex
	to map[netip.AddrPort]*func([]byte, packet.Meta)
}

func newSocket(t testing.TB) *socket {
	t.Helper()
	conn, err := packet.Listen("127.0.0.1:0", packet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := &socket{conn: conn, to: map[netip.AddrPort]*func([]byte, packet.Meta){}}
	s.group.Go(func() { _ = conn.Serve(context.Background(), s.deliver) })
	t.Cleanup(func() {
		_ = conn.Close()
		s.group.Wait()
		if n := s.registered(); n != 0 {
			t.Errorf("%d registrations are left", n)
		}
	})
	return s
}

func (s *socket) deliver(b []byte, m packet.Meta) {
	s.mu.Lock()
	f := s.to[m.Src]
	s.mu.Unlock()
	if f != nil {
		(*f)(b, m)
	}
}

func (s *socket) Send(b []byte, to netip.AddrPort, from netip.Addr) error {
	if s.err != nil {
		return s.err
	}
	return s.conn.Send(b, to, from)
}

func (s *socket) Register(remote netip.AddrPort, deliver func([]byte, packet.Meta)) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to[remote] = &deliver
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.to[remote] == &deliver {
			delete(s.to, remote)
		}
	}
}

func (s *socket) registered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.to)
}

func noProxy(*url.URL) (*url.URL, error) { return nil, nil }

func config(t testing.TB, s *station, addrs ...string) Config {
	t.Helper()
	return Config{
		Identity: identity(t), Addrs: append(addrs, s.addr), Key: s.id.Fingerprint(),
		Socket: newSocket(t), Proxy: noProxy, Log: quiet,
	}
}

func dial(t testing.TB, cfg Config) *Uplink {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	u, err := Dial(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

// echo sends a body there and back.
func echo(t testing.TB, u *Uplink, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r := coap.NewRequest(coap.POST, "echo")
	r.Body = []byte(body)
	a, err := u.CoAP().Do(ctx, r)
	if err != nil || string(a.Body) != body {
		t.Fatalf("answer %v %v", a, err)
	}
}

// cause waits for the end of an uplink.
func cause(t testing.TB, u *Uplink) error {
	t.Helper()
	select {
	case <-u.Context().Done():
		return context.Cause(u.Context())
	case <-time.After(10 * time.Second):
		t.Fatal("the uplink does not end")
		return nil
	}
}

// eventually polls until what becomes true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never:", what)
		}
	}
}
