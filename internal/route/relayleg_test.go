package route

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey/internal/signal"
)

// TestRelayIsTriedAgain has a server that refuses at first, and a way there
// that breaks.
func TestRelayIsTriedAgain(t *testing.T) {
	a, b := sockets(t)
	r := newRelay(t)
	ga, gb := r.grants(0)
	conns := make(chan net.PacketConn, 9)
	var dials atomic.Int32
	dial := func(ctx context.Context) (net.PacketConn, net.Addr, error) {
		switch dials.Add(1) {
		case 1:
			r.refuse.Store(true)
		case 2:
			r.refuse.Store(false)
		}
		c, server, err := r.dialTLS(ctx)
		conns <- c
		return c, server, err
	}
	a.open(Config{Controlling: true, Relay: ga, DialRelay: dial})
	b.open(Config{Relay: gb, DialRelay: func(ctx context.Context) (net.PacketConn, net.Addr, error) {
		return r.dialTLS(ctx)
	}})
	p, q := a.waitFor(Relay), b.waitFor(Relay)
	if n := dials.Load(); n != 2 {
		t.Errorf("%d dials", n)
	}
	exchange(t, a, p, b, q)
	<-conns
	(<-conns).Close()
	if receive(t, a.down, "Down") != p {
		t.Error("another path went down")
	}
	if a.waitFor(Relay) != p {
		t.Error("another path came up")
	}
	exchange(t, a, p, b, q)
}

func TestRelayGivesAnotherName(t *testing.T) {
	a, _ := sockets(t)
	r := newRelay(t)
	ga, gb := r.grants(0)
	ga.Self = gb.Self
	again, dials := make(chan struct{}), 0
	a.open(Config{Relay: ga, DialRelay: func(ctx context.Context) (net.PacketConn, net.Addr, error) {
		if dials++; dials == 2 {
			close(again)
			<-ctx.Done()
			return nil, nil, ctx.Err()
		}
		return r.dialUDP(ctx)
	}})
	receive(t, again, "second dial")
	select {
	case p := <-a.up:
		t.Errorf("%s path up", p.Kind())
	default:
	}
}

// TestGrantIsOld: whatever our clock says of the end of a grant, the relay is
// tried again for as long as a grant may be good, and not for ever.
func TestGrantIsOld(t *testing.T) {
	for _, expires := range []time.Duration{-365 * 24 * time.Hour, 0, 365 * 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			last := begin
			leg := relayLeg{
				grant: signal.Grant{Expires: begin.Add(expires)}, log: quiet, lost: func(error) {},
				dial: func(context.Context) (net.PacketConn, net.Addr, error) {
					last = time.Now()
					return nil, nil, errors.New("no way")
				},
			}
			leg.run(t.Context())
			if tried := last.Sub(begin); tried < grantLife-lastPause || tried > grantLife+lastPause {
				t.Errorf("a grant that ends in %v is tried for %v", expires, tried)
			}
		})
	}
}

// TestRelayOutsiders sends to a relay leg what its peer did not.
func TestRelayOutsiders(t *testing.T) {
	a, b := sockets(t)
	r := newRelay(t)
	ga, gb := r.grants(0)
	var socket atomic.Pointer[net.UDPAddr]
	a.open(Config{Controlling: true, Relay: ga, DialRelay: func(ctx context.Context) (net.PacketConn, net.Addr, error) {
		c, server, err := r.dialUDP(ctx)
		socket.Store(c.LocalAddr().(*net.UDPAddr))
		return c, server, err
	}})
	b.open(Config{Relay: gb, DialRelay: r.dialUDP})
	p, q := a.waitFor(Relay), b.waitFor(Relay)
	exchange(t, a, p, b, q)
	other, err := net.DialUDP("udp4", nil, socket.Load())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, payload := range []string{"\x17dtls", "\x40\x00\x00\x05\x17dtls", "\x40\x00\xff\xff", "\x01"} {
		if _, err := other.Write([]byte(payload)); err != nil {
			t.Fatal(err)
		}
	}
	q.Send([]byte("not DTLS"))
	q.Send(record("the end"))
	if g := receive(t, a.got, "datagram"); g.text != string(record("the end")) || g.src != ga.Peer {
		t.Errorf("got %q from %v", g.text, g.src)
	}
}

func TestCloseEndsWhatTheRelayWaitsFor(t *testing.T) {
	for _, c := range []struct {
		name string
		dial func(context.Context) (net.PacketConn, net.Addr, error)
	}{
		{"dial", func(ctx context.Context) (net.PacketConn, net.Addr, error) {
			<-ctx.Done()
			return nil, nil, ctx.Err()
		}},
		{"no way", func(context.Context) (net.PacketConn, net.Addr, error) { return nil, nil, errors.New("no way") }},
		{"silent server", func(context.Context) (net.PacketConn, net.Addr, error) {
			conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				return nil, nil, err
			}
			return conn, conn.LocalAddr(), nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, _ := sockets(t)
			r := newRelay(t)
			ga, _ := r.grants(0)
			entered := make(chan struct{}, 99)
			a.open(Config{Relay: ga, DialRelay: func(ctx context.Context) (net.PacketConn, net.Addr, error) {
				entered <- struct{}{}
				return c.dial(ctx)
			}})
			receive(t, entered, "dial")
			begin := time.Now()
			a.route.Close()
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("close took %v", took)
			}
			a.empty()
			if a.route.UseRelay(ga) == nil {
				t.Error("a relay after Close")
			}
		})
	}
}

// A stalledConn is a stream that takes nothing.
type stalledConn struct {
	net.PacketConn
	wrote chan struct{}
	ended chan struct{}
}

func (c *stalledConn) LocalAddr() net.Addr { return &net.TCPAddr{} }

func (c *stalledConn) WriteTo([]byte, net.Addr) (int, error) {
	select {
	case c.wrote <- struct{}{}:
	default:
	}
	<-c.ended
	return 0, net.ErrClosed
}

func TestStalledStreamHoldsNobodyUp(t *testing.T) {
	c := &stalledConn{wrote: make(chan struct{}, 1), ended: make(chan struct{})}
	o := newOutlet(c)
	done := make(chan error, 1)
	go func() { done <- o.drain(t.Context()) }()
	for range 4 * outletSize {
		if _, err := o.WriteTo([]byte("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	receive(t, c.wrote, "write")
	close(c.ended)
	if err := receive(t, done, "end"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("ended with %v", err)
	}
	o.end()
	if _, err := o.WriteTo([]byte("x"), nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a message after the end: %v", err)
	}
}
