package route

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/transport/v5/stdnet"
	"github.com/pion/turn/v5"

	"github.com/latchkey-dev/latchkey/internal/signal"
)

const (
	// relayBuffer holds the largest message of the relay. Peers send what every
	// path carries.
	relayBuffer = 4 << 10
	// After a failure the relay is tried again, at first after firstPause.
	firstPause = 500 * time.Millisecond
	lastPause  = 30 * time.Second
	// grantLife is how long after it was received a grant is good for another
	// allocation at most. The end that it names is by another clock than ours.
	grantLife = 10 * time.Minute
)

// A relayLeg is our half of the way through the relay: an allocation (RFC 8656)
// that may exchange datagrams with the peer's allocation and nobody else.
type relayLeg struct {
	grant   signal.Grant
	dial    func(ctx context.Context) (net.PacketConn, net.Addr, error)
	net     func() (*stdnet.Net, error)
	log     *slog.Logger
	receive func(b []byte)           // DTLS records of the peer
	state   func(func([]byte) error) // told how to send while that is possible, else nil
	lost    func(error)              // told why the leg went down
}

// run keeps the leg up until ctx ends, or it is lost and the grant is too old.
func (l *relayLeg) run(ctx context.Context) {
	received := time.Now()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		begin := time.Now()
		err := l.session(ctx)
		if ctx.Err() != nil {
			return
		}
		l.log.Debug("relay lost", "op", "relay", "err", err)
		l.lost(err)
		if time.Since(received) > grantLife {
			return // only a new introduction can help
		}
		if time.Since(begin) > lastPause {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// session makes an allocation and uses it until ctx ends or it is lost.
func (l *relayLeg) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, server, err := l.dial(ctx)
	if err != nil {
		return err
	}
	out := newOutlet(conn)
	client, err := l.client(out, server)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	a := &allocation{leg: l, client: client}
	var wait sync.WaitGroup
	wait.Go(func() { cancel(a.read(conn)) })
	if out.queue != nil {
		wait.Go(func() { cancel(out.drain(ctx)) })
	}
	closed := make(chan struct{})
	context.AfterFunc(ctx, func() { // ends every read, write and transaction
		defer close(closed)
		a.release()
		out.end()
		conn.Close()
	})
	err = a.open(ctx, out, &wait, cancel)
	if err == nil {
		l.state(a.send)
		<-ctx.Done()
		l.state(nil)
		err = context.Cause(ctx)
	}
	cancel(err)
	<-closed
	wait.Wait()
	return err
}

func (l *relayLeg) client(conn net.PacketConn, server net.Addr) (*turn.Client, error) {
	n, err := l.net()
	if err != nil {
		return nil, err
	}
	family := turn.RequestedAddressFamilyIPv4
	if l.grant.Self.Addr().Is6() {
		family = turn.RequestedAddressFamilyIPv6
	}
	return turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: server.String(), Username: l.grant.Username, Password: l.grant.Password,
		Conn: conn, Net: n, LoggerFactory: loggers{l.log, &secrets{list: []string{l.grant.Password}}}, RequestedAddressFamily: family,
	})
}

// An allocation is what one connection to the relay has got.
type allocation struct {
	leg    *relayLeg
	client *turn.Client

	relayed atomic.Pointer[relayed]
	ready   atomic.Bool // the peer is permitted, so the library may send
}

// relayed is the library's connection, with the channels that it bound.
type relayed struct {
	net.PacketConn
	channels interface {
		FindAddrByChannelNumber(uint16) (net.Addr, bool)
	}
}

// open allocates, and asks for permission to exchange datagrams with the peer.
// It does not wait for the answer to that: the server takes what follows the
// request in the same order.
func (a *allocation) open(ctx context.Context, out *outlet, wait *sync.WaitGroup, fail func(error)) error {
	conn, err := a.client.AllocateWithContext(ctx)
	if err != nil {
		return fmt.Errorf("route: allocation: %w", err)
	}
	r := &relayed{PacketConn: conn}
	r.channels, _ = conn.(interface {
		FindAddrByChannelNumber(uint16) (net.Addr, bool)
	})
	a.relayed.Store(r)
	if ctx.Err() != nil {
		a.release()
		return context.Cause(ctx)
	}
	if self := addrPortOf(conn.LocalAddr()); self != a.leg.grant.Self {
		return fmt.Errorf("route: the relay gave %v instead of %v", self, a.leg.grant.Self)
	}
	select {
	case <-out.wrote: // what the allocation wrote
	default:
	}
	wait.Go(func() {
		// An empty datagram: permission is asked for first, then a channel.
		if _, err := conn.WriteTo(nil, net.UDPAddrFromAddrPort(a.leg.grant.Peer)); err != nil {
			fail(fmt.Errorf("route: permission: %w", err))
			return
		}
		a.ready.Store(true)
	})
	select {
	case <-out.wrote:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// release gives the allocation back and ends what waits for the server.
func (a *allocation) release() {
	if r := a.relayed.Load(); r != nil {
		r.Close() // tells the server; twice does no harm
	}
	a.client.Close()
}

// send sends one datagram to the peer. Until the permission is known to be
// there it is an indication, which nobody answers.
func (a *allocation) send(b []byte) error {
	r, peer := a.relayed.Load(), a.leg.grant.Peer
	if a.ready.Load() {
		_, err := r.WriteTo(b, net.UDPAddrFromAddrPort(peer))
		return err
	}
	m, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication),
		peerAddress(peer), stun.RawAttribute{Type: stun.AttrData, Value: b})
	if err != nil {
		return err
	}
	_, err = a.client.WriteTo(m.Raw, a.client.TURNServerAddr())
	return err
}

// peerAddress is XOR-PEER-ADDRESS.
type peerAddress netip.AddrPort

// AddTo implements stun.Setter.
func (p peerAddress) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	return stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

// read takes what the server sends until the connection ends. Datagrams of the
// peer do not go through the library: it would copy and queue them.
func (a *allocation) read(conn net.PacketConn) error {
	buf := make([]byte, relayBuffer)
	server := addrPortOf(a.client.TURNServerAddr())
	_, udp := conn.LocalAddr().(*net.UDPAddr)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if n > len(buf) || udp && addrPortOf(from) != server {
			continue // a stream's message may be longer than the buffer
		}
		b := buf[:n]
		payload, ok := a.payload(b)
		switch {
		case ok && isDTLS(payload):
			a.leg.receive(payload)
		case ok:
		default:
			if _, err := a.client.HandleInbound(b, from); err != nil {
				a.leg.log.Debug("relay message dropped", "op", "relay", "err", err)
			}
		}
	}
}

// payload returns what the peer sent, if b carries that.
func (a *allocation) payload(b []byte) ([]byte, bool) {
	r := a.relayed.Load()
	if r == nil || len(b) < channelSize {
		return nil, false
	}
	if b[0] >= firstTURN && b[0] <= lastTURN {
		size := int(binary.BigEndian.Uint16(b[2:]))
		if r.channels == nil || size > len(b)-channelSize {
			return nil, true
		}
		from, ok := r.channels.FindAddrByChannelNumber(binary.BigEndian.Uint16(b))
		if !ok || addrPortOf(from) != a.leg.grant.Peer {
			return nil, true
		}
		return b[channelSize : channelSize+size], true
	}
	if !isSTUN(b) || typeOf(b) != dataIndication {
		return nil, false
	}
	m := stun.Message{Raw: bytes.Clone(b)}
	if m.Decode() != nil {
		return nil, true
	}
	if from, err := addressAs(&m, stun.AttrXORPeerAddress); err != nil || from != a.leg.grant.Peer {
		return nil, true
	}
	data, _ := attribute(b, stun.AttrData)
	return data, true
}

func addrPortOf(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := u.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
