package route

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	"github.com/latchkey-dev/latchkey/internal/signal"
)

const realm = "latchkey.test"

// A relay is a TURN and STUN server on loopback. Its relayed addresses are
// names: datagrams between them never leave the process.
type relay struct {
	addr    netip.AddrPort
	tlsAddr string
	server  *turn.Server
	refuse  atomic.Bool // allocations

	mu    sync.Mutex
	names map[string]netip.AddrPort // by user
	ports map[netip.AddrPort]*port
}

type parcel struct {
	b    []byte
	from netip.AddrPort
}

// A port is a relayed address.
type port struct {
	relay *relay
	addr  netip.AddrPort
	in    chan parcel
	once  sync.Once
	done  chan struct{}
}

func (p *port) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-p.in:
		return copy(b, d.b), net.UDPAddrFromAddrPort(d.from), nil
	case <-p.done:
		return 0, nil, net.ErrClosed
	}
}

func (p *port) WriteTo(b []byte, to net.Addr) (int, error) {
	p.relay.mu.Lock()
	o := p.relay.ports[addrPortOf(to)]
	p.relay.mu.Unlock()
	if o != nil {
		select {
		case o.in <- parcel{append([]byte(nil), b...), p.addr}:
		default:
		}
	}
	return len(b), nil
}

func (p *port) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(p.addr) }

func (p *port) Close() error {
	p.once.Do(func() {
		p.relay.mu.Lock()
		defer p.relay.mu.Unlock()
		if p.relay.ports[p.addr] == p {
			delete(p.relay.ports, p.addr)
		}
		close(p.done)
	})
	return nil
}

func (*port) SetDeadline(time.Time) error      { return nil }
func (*port) SetReadDeadline(time.Time) error  { return nil }
func (*port) SetWriteDeadline(time.Time) error { return nil }

func (*relay) Validate() error { return nil }

func (r *relay) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.names[c.UserID]
	if !ok || r.ports[a] != nil {
		return nil, nil, errors.New("no such user, or one that is here")
	}
	p := &port{relay: r, addr: a, in: make(chan parcel, 100), done: make(chan struct{})}
	r.ports[a] = p
	return p, p.LocalAddr(), nil
}

func (*relay) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errors.ErrUnsupported
}

func (*relay) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}

func newRelay(t testing.TB) *relay {
	t.Helper()
	r := &relay{names: make(map[string]netip.AddrPort), ports: make(map[netip.AddrPort]*port)}
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = addrPortOf(udp.LocalAddr())
	cert, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	r.tlsAddr = tcp.Addr().String()
	r.server, err = turn.NewServer(turn.ServerConfig{
		Realm:         realm,
		LoggerFactory: loggers{quiet, new(secrets)},
		AuthHandler: func(a *turn.RequestAttributes) (string, []byte, bool) {
			return a.Username, turn.GenerateAuthKey(a.Username, realm, "secret of "+a.Username), !r.refuse.Load()
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: udp, RelayAddressGenerator: r}},
		ListenerConfigs:   []turn.ListenerConfig{{Listener: tcp, RelayAddressGenerator: r}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.server.Close() })
	return r
}

// grants are for the two sides of introduction number n.
func (r *relay) grants(n uint16) (a, b *signal.Grant) {
	x := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.200"), 20000+2*n)
	y := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.200"), 20001+2*n)
	grant := func(self, peer netip.AddrPort) *signal.Grant {
		r.mu.Lock()
		defer r.mu.Unlock()
		user := self.String()
		r.names[user] = self
		return &signal.Grant{
			Username: user, Password: "secret of " + user, Self: self, Peer: peer, Expires: time.Now().Add(time.Minute),
		}
	}
	return grant(x, y), grant(y, x)
}

func (r *relay) dialUDP(context.Context) (net.PacketConn, net.Addr, error) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	return c, net.UDPAddrFromAddrPort(r.addr), err
}

func (r *relay) dialTLS(ctx context.Context) (net.PacketConn, net.Addr, error) {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	c, err := d.DialContext(ctx, "tcp", r.tlsAddr)
	if err != nil {
		return nil, nil, err
	}
	return turn.NewSTUNConn(c), c.RemoteAddr(), nil
}
