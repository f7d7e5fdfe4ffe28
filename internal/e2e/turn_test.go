package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/registry"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// places are addresses that no session may reach by a relay.
func places(special ...string) (all []netip.Addr) {
	special = append(special,
		"0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.0.0.53", "127.1.1.1", "169.254.169.254", "172.16.0.1",
		"192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.5", "224.0.0.1",
		"239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16", "8.8.8.8", "100.100.100.200", "10.255.255.255",
	)
	for _, s := range special {
		a := netip.MustParseAddr(s)
		b := a.As4()
		all = append(all, a)
		for _, form := range []string{"::ffff:%d.%d.%d.%d", "::%d.%d.%d.%d", "64:ff9b::%d.%d.%d.%d", "64:ff9b:1::%d.%d.%d.%d", "::ffff:0:%d.%d.%d.%d"} {
			all = append(all, netip.MustParseAddr(fmt.Sprintf(form, b[0], b[1], b[2], b[3])))
		}
		all = append(all,
			netip.MustParseAddr(fmt.Sprintf("2002:%02x%02x:%02x%02x::", b[0], b[1], b[2], b[3])),
			netip.MustParseAddr(fmt.Sprintf("fe80::5efe:%02x%02x:%02x%02x", b[0], b[1], b[2], b[3])),
			netip.MustParseAddr(fmt.Sprintf("fe80::200:5efe:%02x%02x:%02x%02x", b[0], b[1], b[2], b[3])),
		)
	}
	for _, s := range []string{"::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "2606:4700::1111"} {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

// TestRelayLeadsNowhereElse: with the credentials of a session, by the ports of a
// basestation, nothing is sent anywhere but to the session's other side.
func TestRelayLeadsNowhereElse(t *testing.T) {
	store, info := station(t)
	s := &site{t: t, store: store, info: info}
	key := newIdentity(t)
	s.register(gw1, key)
	token := latchkey.NewConnectToken()
	if _, err := store.ReplaceTokens(gw1, 1, []registry.Token{{Hash: token.Hash().Sum()}}); err != nil {
		t.Fatal(err)
	}
	gw := s.call(key, "127.0.0.1")
	if answer := gw.must(coap.POST, signal.PathAttach, &signal.Attach{ID: gw1, Version: "1", Time: time.Now()}); answer.Code != coap.Created {
		t.Fatal(answer.Code)
	}
	grant := func() (*caller, signal.SessionID, *signal.Grant) {
		c := s.call(newIdentity(t), "127.0.0.1")
		ask := c.connect(gw1, token)
		var got signal.Connected
		if err := signal.Unmarshal(c.must(coap.POST, signal.PathConnect, ask).Body, &got); err != nil || got.Relay == nil {
			t.Fatalf("%+v, %v", got, err)
		}
		return c, ask.Offer.Session, got.Relay
	}
	_, _, other := grant()
	victim := newVictim(t, "127.0.0.1:0")
	all := places(other.Self.Addr().String(), other.Peer.Addr().String())
	if len(all) < 200 {
		t.Fatalf("only %d", len(all))
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _, mine := grant()
	client := turnClient(t, conn, info.Addrs[0], mine)
	relay, err := client.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	for _, a := range all {
		if a == mine.Peer.Addr() {
			continue
		}
		to := &net.UDPAddr{IP: a.AsSlice(), Port: int(victim.addr.Port())}
		if err := client.CreatePermission(to); err == nil {
			t.Errorf("permission for %s", a)
		}
		if _, err := relay.WriteTo([]byte("out"), to); err == nil {
			t.Errorf("a datagram to %s", a)
		}
	}
	if n := victim.count.Load(); n != 0 {
		t.Errorf("%d datagrams left", n)
	}
	if err := client.CreatePermission(net.UDPAddrFromAddrPort(mine.Peer)); err != nil {
		t.Errorf("the session's own other side: %v", err)
	}
}

// TestRelayEndsWithItsSession: who has left has no use for the credentials any
// more.
func TestRelayEndsWithItsSession(t *testing.T) {
	store, info := station(t)
	s := &site{t: t, store: store, info: info}
	key := newIdentity(t)
	s.register(gw1, key)
	token := latchkey.NewConnectToken()
	if _, err := store.ReplaceTokens(gw1, 1, []registry.Token{{Hash: token.Hash().Sum()}}); err != nil {
		t.Fatal(err)
	}
	gw := s.call(key, "127.0.0.1")
	gw.must(coap.POST, signal.PathAttach, &signal.Attach{ID: gw1, Version: "1", Time: time.Now()})
	c := s.call(newIdentity(t), "127.0.0.1")
	ask := c.connect(gw1, token)
	var got signal.Connected
	if err := signal.Unmarshal(c.must(coap.POST, signal.PathConnect, ask).Body, &got); err != nil || got.Relay == nil {
		t.Fatalf("%+v, %v", got, err)
	}
	stranger := s.call(newIdentity(t), "127.0.0.1")
	if answer := stranger.must(coap.POST, signal.PathLeave, &signal.Leave{Session: ask.Offer.Session}); answer.Code.Class() == 2 {
		t.Error("a stranger ends the introduction")
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := turnClient(t, conn, info.Addrs[0], got.Relay)
	relay, err := before.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	c.must(coap.POST, signal.PathLeave, &signal.Leave{Session: ask.Offer.Session})
	again, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if r, err := turnClient(t, again, info.Addrs[0], got.Relay).AllocateWithContext(ctx); err == nil {
		_ = r.Close()
		t.Error("the credentials of a session that is over are good")
	}
	if err := before.CreatePermission(net.UDPAddrFromAddrPort(got.Relay.Peer)); err == nil {
		t.Error("the allocation of a session that is over lives on")
	}
}

func turnClient(t *testing.T, conn net.PacketConn, server netip.AddrPort, g *signal.Grant) *turn.Client {
	t.Helper()
	c, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: server.String(), Conn: conn, Username: g.Username, Password: g.Password, RTO: 50 * time.Millisecond,
		RequestedAddressFamily: turn.RequestedAddressFamilyIPv4,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
