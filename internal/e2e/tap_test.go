package e2e

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// A tap stands between a basestation and those who take its address for the
// basestation's. It sees every datagram that the basestation gets from them and
// sends to them.
type tap struct {
	addr netip.AddrPort

	mu       sync.Mutex
	up, down []datagram // to the basestation, from it
}

type datagram struct {
	peer netip.AddrPort // the other end, not the basestation
	b    []byte
}

func newTap(t *testing.T, station netip.AddrPort) *tap {
	t.Helper()
	front, err := packet.Listen("127.0.0.1:0", packet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{addr: front.LocalAddrs()[0]}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	backs := make(map[netip.AddrPort]*net.UDPConn)
	work.Go(func() {
		_ = front.Serve(ctx, func(b []byte, m packet.Meta) {
			p.mu.Lock()
			p.up = append(p.up, datagram{m.Src, bytes.Clone(b)})
			back := backs[m.Src]
			if back == nil {
				if back, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(station)); err != nil {
					p.mu.Unlock()
					t.Error(err)
					return
				}
				backs[m.Src] = back
				work.Go(func() { p.answer(front, back, m.Src) })
			}
			p.mu.Unlock()
			_, _ = back.Write(b)
		})
	})
	t.Cleanup(func() {
		cancel()
		_ = front.Close()
		p.mu.Lock()
		for _, b := range backs {
			_ = b.Close()
		}
		p.mu.Unlock()
		work.Wait()
	})
	return p
}

func (p *tap) answer(front packet.Conn, back *net.UDPConn, to netip.AddrPort) {
	buf := make([]byte, 64<<10)
	for {
		n, err := back.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.down = append(p.down, datagram{to, bytes.Clone(buf[:n])})
		p.mu.Unlock()
		_ = front.Send(buf[:n], to, netip.Addr{})
	}
}

// counts returns how many datagrams a peer sent and received.
func (p *tap) counts(peer netip.AddrPort) (up, down int) {
	count := func(list []datagram) (n int) {
		for _, d := range list {
			if d.peer == peer {
				n++
			}
		}
		return n
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return count(p.up), count(p.down)
}

// sent returns what a peer sent to the basestation.
func (p *tap) sent(peer netip.AddrPort) (list [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.up {
		if d.peer == peer {
			list = append(list, d.b)
		}
	}
	return list
}

// carried reports whether what went by contains text, and how many bytes it was.
func (p *tap) carried(text []byte) (found bool, size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range [][]datagram{p.up, p.down} {
		for _, d := range list {
			found = found || bytes.Contains(d.b, text)
			size += len(d.b)
		}
	}
	return found, size
}

// A caller is a peer of a basestation that says what the test wants.
type caller struct {
	*coap.Endpoint
	t    *testing.T
	conn *secure.Conn
	key  *latchkey.Identity
	ends func()
	bye  chan latchkey.Code
}

// call connects to a basestation from an address of this machine.
func call(t *testing.T, key *latchkey.Identity, source string, to netip.AddrPort, pin latchkey.Fingerprint) *caller {
	t.Helper()
	c, err := tryCall(t, key, source, to, pin)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tryCall(t *testing.T, key *latchkey.Identity, source string, to netip.AddrPort, pin latchkey.Fingerprint) (*caller, error) {
	sock, err := packet.Listen(net.JoinHostPort(source, "0"), packet.Config{Buffer: 64 << 10})
	if err != nil {
		return nil, err
	}
	h := secure.NewClient(secure.Config{
		Identity: key, Log: testLog(t), Timeout: patience,
		Verify: func(p secure.Peer) error {
			if p.Key != pin {
				return latchkey.ErrIdentityChanged
			}
			return nil
		},
	}, func(b []byte) error { return sock.Send(b, to, netip.Addr{}) })
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { _ = sock.Serve(ctx, func(b []byte, m packet.Meta) { h.Deliver(b, m) }) })
	conn, err := h.Run(t.Context())
	if err != nil {
		cancel()
		_ = sock.Close()
		work.Wait()
		return nil, err
	}
	c := &caller{t: t, conn: conn, key: key, bye: make(chan latchkey.Code, 1)}
	c.Endpoint = coap.New(coap.Config{
		Log: testLog(t),
		Send: func(b []byte) error {
			_, err := conn.Write(b)
			return err
		},
		Handler: func(_ context.Context, r *coap.Request) *coap.Response {
			if len(r.Path) == 1 && r.Path[0] == "end" && len(r.Body) == 1 {
				select {
				case c.bye <- latchkey.Code(r.Body[0]):
				default:
				}
			}
			if len(r.Path) == 1 && r.Path[0] == signal.PathIntroduce {
				return c.introduced(r.Body)
			}
			return coap.NewResponse(coap.Changed)
		},
	})
	work.Go(func() { _ = conn.Serve(c.Deliver); c.Endpoint.Close() })
	work.Go(func() { tick(ctx, c.Endpoint) })
	c.ends = sync.OnceFunc(func() {
		_ = conn.Close()
		c.Endpoint.Close()
		c.Wait()
		cancel()
		_ = sock.Close()
		work.Wait()
	})
	t.Cleanup(c.ends)
	return c, nil
}

// introduced answers as a device does.
func (c *caller) introduced(body []byte) *coap.Response {
	var in signal.Introduce
	if err := signal.Unmarshal(body, &in); err != nil {
		c.t.Error(err)
	}
	return message(c.t, coap.Created, &signal.Introduced{
		Offer: offerOf(c.t, c.key, signal.RoleDevice, in.Session, in.Offer.Device, nil),
	})
}

// ask sends a message and returns the answer.
func (c *caller) ask(code coap.Code, path string, m signal.Message) (*coap.Response, error) {
	body, err := signal.Marshal(m)
	if err != nil {
		return nil, err
	}
	r := coap.NewRequest(code, path)
	r.Format, r.Body = coap.CBOR, body
	return c.Do(deadline(c.t), r)
}

// must is ask that gets an answer.
func (c *caller) must(code coap.Code, path string, m signal.Message) *coap.Response {
	c.t.Helper()
	answer, err := c.ask(code, path, m)
	if err != nil {
		c.t.Fatalf("%s: %v", path, err)
	}
	return answer
}

// connect asks for an introduction.
func (c *caller) connect(id latchkey.DeviceID, sct latchkey.ConnectToken) *signal.Connect {
	c.t.Helper()
	return &signal.Connect{ID: id, SCT: sct.Reveal(), Offer: offerOf(c.t, c.key, signal.RoleClient, newSession(), id, nil)}
}
