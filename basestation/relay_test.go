package basestation

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/signal"
	"github.com/latchkey-dev/latchkey/internal/uplink"
)

// A socket is that of a peer.
type socket struct {
	packet.Conn
	packet.Switch
}

// dialUplink connects a peer as devices and clients do.
func (b *base) dialUplink(key *latchkey.Identity, way uplink.Transports) (*peer, *uplink.Uplink) {
	b.t.Helper()
	p := newPeer(b.t, key)
	conn, err := packet.Listen("127.0.0.1:0", packet.Config{})
	if err != nil {
		b.t.Fatal(err)
	}
	sock := &socket{Conn: conn}
	served := make(chan struct{})
	go func() { // ends with conn
		defer close(served)
		_ = conn.Serve(context.Background(), func(d []byte, m packet.Meta) { sock.Deliver(d, m) })
	}()
	up, err := uplink.Dial(b.t.Context(), uplink.Config{
		Identity: key, Addrs: []string{b.addr.String()}, Key: b.Identity.Fingerprint(),
		Socket: sock, Transports: way, Handler: p.handle, Log: quiet,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	p.coap = up.CoAP()
	b.t.Cleanup(func() {
		up.Close()
		_ = conn.Close()
		<-served
	})
	return p, up
}

// relayed opens the relayed connection that a grant allows.
func relayed(t *testing.T, up *uplink.Uplink, g *signal.Grant) net.PacketConn {
	t.Helper()
	conn, server, err := up.DialRelay(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: server.String(), Conn: conn, Username: g.Username, Password: g.Password,
		RequestedAddressFamily: turn.RequestedAddressFamilyIPv4,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	relay, err := client.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = relay.Close() // the basestation may have ended it
		client.Close()
		_ = conn.Close()
	})
	if relay.LocalAddr().String() != g.Self.String() {
		t.Errorf("relayed address %s, want %s", relay.LocalAddr(), g.Self)
	}
	return relay
}

// pass sends a datagram until it arrives.
func pass(t *testing.T, from, to net.PacketConn, name netip.AddrPort) {
	t.Helper()
	want, got := []byte("through the relay"), make([]byte, 2048)
	until(t, "a datagram came through the relay", func() bool {
		if _, err := from.WriteTo(want, net.UDPAddrFromAddrPort(name)); err != nil {
			t.Fatal(err)
		}
		_ = to.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, _, err := to.ReadFrom(got)
		return err == nil && bytes.Equal(got[:n], want)
	})
}

// TestRelayedSession takes a client and a device from attach to the relay and
// back, each by UDP and by TLS.
func TestRelayedSession(t *testing.T) {
	b := newBase(t, func(s *Server) { s.Limits.Drain = 20 * time.Second })
	key := b.register(gateway)
	for _, ways := range [][2]uplink.Transports{{uplink.UDP, uplink.TLS}, {uplink.TLS, uplink.UDP}} {
		device, deviceUp := b.dialUplink(key, ways[0])
		token := latchkey.NewConnectToken()
		device.upload(device.attach(gateway).TokensVersion+1, token)
		client, clientUp := b.dialUplink(newIdentity(t), ways[1])
		request := client.request(gateway, token)
		var connected signal.Connected
		wants(t, client.do(coap.POST, signal.PathConnect, request), coap.Created, 0, &connected)
		introduce := device.introduced(request.Offer.Session)
		client.next(signal.PathAnswer, &signal.Answer{}).reply(t, coap.Changed, nil)

		near, far := relayed(t, clientUp, connected.Relay), relayed(t, deviceUp, introduce.Relay)
		_, _ = far.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(introduce.Relay.Peer)) // permits the client
		pass(t, near, far, connected.Relay.Peer)
		pass(t, far, near, introduce.Relay.Peer)
		if s, _ := b.Status(); s.Relay.Allocations != 2 || s.Relay.Bytes == 0 {
			t.Errorf("%+v", s.Relay)
		}

		wants(t, client.do(coap.POST, signal.PathLeave, &signal.Leave{Session: connected.Session}), coap.Changed, 0, nil)
		until(t, "the relay has ended", func() bool { s, _ := b.Status(); return s.Relay.Allocations == 0 && s.Relay.Grants == 0 })
		clientUp.Close()
		deviceUp.Close()
	}
}

// TestDrainWaitsForRelays stops a basestation that relays: it goes on until the
// peers have left.
func TestDrainWaitsForRelays(t *testing.T) {
	b := newBase(t, func(s *Server) { s.Limits.Drain = 20 * time.Second })
	device, deviceUp := b.dialUplink(b.register(gateway), uplink.UDP)
	device.attach(gateway)
	token := latchkey.NewConnectToken()
	device.upload(1, token)
	client, clientUp := b.dialUplink(newIdentity(t), uplink.TLS)
	request := client.request(gateway, token)
	var connected signal.Connected
	wants(t, client.do(coap.POST, signal.PathConnect, request), coap.Created, 0, &connected)
	introduce := device.introduced(request.Offer.Session)
	client.next(signal.PathAnswer, &signal.Answer{}).reply(t, coap.Changed, nil)
	near, far := relayed(t, clientUp, connected.Relay), relayed(t, deviceUp, introduce.Relay)
	stopped := make(chan error, 1)
	go func() { stopped <- b.stop() }()
	until(t, "it drains", func() bool { s, _ := b.Status(); return s.Draining })
	_, _ = far.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(introduce.Relay.Peer))
	pass(t, near, far, connected.Relay.Peer)
	select {
	case err := <-stopped:
		t.Fatalf("it stopped while it relayed: %v", err)
	default:
	}
	_, _ = near.Close(), far.Close()
	if err := receive(t, stopped); err != nil {
		t.Error(err)
	}
}
