package e2e

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// away makes the owner forget the device's address, and returns how to remember
// it.
func away(t *testing.T, c *client.Client) (back func()) {
	t.Helper()
	known, err := c.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	var addrs []string
	if err := known.Update("home", func(d *client.Device) { addrs, d.Addrs = d.Addrs, nil }); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := known.Update("home", func(d *client.Device) { d.Addrs = addrs }); err != nil {
			t.Error(err)
		}
	}
}

// TestHostileAnswers: a basestation answers a client with what the device did not
// say. No session comes of it, and on the device's network nothing is different.
func TestHostileAnswers(t *testing.T) {
	d, td, c := deceived(t, nil)
	key, id := td.Identity, td.info.ID
	impostor := newIdentity(t)
	other := latchkey.DeviceID{Product: "acme", Device: "gw2"}
	yes := func(o signal.Offer) *signal.Answer { return &signal.Answer{Session: o.Session, Offer: &o} }
	tests := []struct {
		name   string
		want   error // nil: the client waits until it is told to stop
		answer func(s signal.SessionID) *signal.Answer
	}{
		{"no answer", nil, func(signal.SessionID) *signal.Answer { return nil }},
		{"another device's key", latchkey.ErrIdentityChanged, func(s signal.SessionID) *signal.Answer {
			return yes(offerOf(t, impostor, signal.RoleDevice, s, id, nil))
		}},
		{"fingerprint kept, key swapped", latchkey.ErrProtocol, func(s signal.SessionID) *signal.Answer {
			a := yes(offerOf(t, impostor, signal.RoleDevice, s, id, nil))
			a.Offer.Key = offerOf(t, key, signal.RoleDevice, s, id, nil).Key
			return a
		}},
		{"certificate swapped", latchkey.ErrProtocol, func(s signal.SessionID) *signal.Answer {
			a := yes(offerOf(t, key, signal.RoleDevice, s, id, nil))
			a.Offer.Certificate[5] ^= 1
			return a
		}},
		{"ICE credentials swapped", latchkey.ErrProtocol, func(s signal.SessionID) *signal.Answer {
			a := yes(offerOf(t, key, signal.RoleDevice, s, id, nil))
			a.Offer.Ufrag, a.Offer.Pwd = "evilevil", "evilevilevilevilevilevil"
			return a
		}},
		{"as another device", latchkey.ErrProtocol, func(s signal.SessionID) *signal.Answer {
			return yes(offerOf(t, key, signal.RoleDevice, s, other, nil))
		}},
		{"the device's answer to somebody else", latchkey.ErrProtocol, func(s signal.SessionID) *signal.Answer {
			a := yes(offerOf(t, key, signal.RoleDevice, newSession(), id, nil))
			a.Session, a.Offer.Session = s, s
			return a
		}},
		{"the answer to another session", nil, func(signal.SessionID) *signal.Answer {
			return yes(offerOf(t, key, signal.RoleDevice, newSession(), id, nil))
		}},
		{"a refusal that the device did not speak", latchkey.ErrRevoked, func(s signal.SessionID) *signal.Answer {
			return &signal.Answer{Session: s, Code: latchkey.CodeRevoked}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			back := away(t, c)
			defer back()
			var work sync.WaitGroup
			defer work.Wait()
			d.on(signal.PathConnect, func(l *dleg, r *coap.Request) *coap.Response {
				var ask signal.Connect
				if err := signal.Unmarshal(r.Body, &ask); err != nil {
					t.Error(err)
				}
				if a := tt.answer(ask.Offer.Session); a != nil {
					work.Go(func() {
						for range 3 { // more than once does no harm
							l.tell(d.t, signal.PathAnswer, a)
						}
					})
				}
				return message(t, coap.Created, &signal.Connected{Session: ask.Offer.Session})
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			conn, err := c.DialWith(ctx, "home", client.DialOptions{})
			if err == nil {
				_ = conn.Close()
				t.Fatal("a session")
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			back()
			conn, err = c.DialWith(deadline(t), "home", client.DialOptions{})
			if err != nil {
				t.Fatalf("with the address: %v", err)
			}
			if p := conn.Path(); p.Kind != "local" {
				t.Errorf("path %+v", p)
			}
			_ = conn.Close()
		})
	}
}

// TestNonsenseFromABasestation: answers that are no messages end the attempt and
// nothing else.
func TestNonsenseFromABasestation(t *testing.T) {
	d, _, c := deceived(t, nil)
	back := away(t, c)
	for name, s := range map[string]script{
		"noise":      always(coap.Created, []byte{0xff, 0x00, 0x1c}),
		"empty":      always(coap.Created, nil),
		"huge":       always(coap.Created, make([]byte, signal.MaxTokensMessage)),
		"other code": always(coap.Code(7<<5|3), nil),
		"deep":       always(coap.Created, []byte{0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x00}),
		"long array": always(coap.Created, []byte{0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}),
	} {
		d.on(signal.PathConnect, s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if conn, err := c.DialWith(ctx, "home", client.DialOptions{Via: client.ViaRelay}); err == nil {
			t.Errorf("%s: a session", name)
			_ = conn.Close()
		}
		cancel()
	}
	back()
	lan(t, c)
}

// TestImpostorBehindTheRelay: the relay of a basestation leads to somebody else.
// The client sees another key and says nothing.
func TestImpostorBehindTheRelay(t *testing.T) {
	d, td, c := deceived(t, nil)
	impostor := newIdentity(t)
	back := away(t, c)
	seen := d.introduces(td.info.Fingerprint)
	honest := d.script[signal.PathConnect]
	var heard, sessions atomic.Int64
	var work sync.WaitGroup
	defer work.Wait()
	d.on(signal.PathConnect, func(l *dleg, r *coap.Request) *coap.Response {
		answer := honest(l, r)
		var got signal.Connected
		if err := signal.Unmarshal(answer.Body, &got); err != nil {
			t.Error(err)
			return answer
		}
		mine, its, _, err := d.relay.Grant(impostor.Fingerprint(), l.key, time.Now())
		if err != nil {
			t.Error(err)
			return answer
		}
		got.Relay = &its
		conn := relayed(d.t, d.addr, &mine)
		work.Go(func() { pose(d.t, conn, its.Self, impostor, &heard, &sessions) })
		return message(d.t, coap.Created, &got)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	conn, err := c.DialWith(ctx, "home", client.DialOptions{Via: client.ViaRelay})
	if err == nil {
		_ = conn.Close()
		t.Fatal("a session with an impostor")
	}
	if !errors.Is(err, latchkey.ErrIdentityChanged) {
		t.Errorf("%v, want %v", err, latchkey.ErrIdentityChanged)
	}
	if heard.Load() == 0 || seen.len() == 0 {
		t.Error("the client did not come to the impostor, so this shows nothing")
	}
	if sessions.Load() != 0 {
		t.Error("the impostor has a session")
	}
	back()
	lan(t, c)
}

// pose plays the device on a relayed connection, until that ends or it was tried.
func pose(t *testing.T, conn net.PacketConn, peer netip.AddrPort, id *latchkey.Identity, heard, sessions *atomic.Int64) {
	to := net.UDPAddrFromAddrPort(peer)
	h := secure.NewServer(secure.Config{
		Identity: id, Verify: func(secure.Peer) error { return nil }, ALPN: []string{secure.Protocol},
		Timeout: 3 * time.Second, Proven: true, Log: testLog(t),
	}, func(b []byte) error {
		_, err := conn.WriteTo(b, to)
		return err
	})
	if _, err := conn.WriteTo(nil, to); err != nil { // the permission
		return
	}
	var work sync.WaitGroup
	work.Go(func() {
		b := make([]byte, 4096)
		for {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			heard.Add(1)
			h.Deliver(b[:n], packet.Meta{Src: peer})
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if c, err := h.Run(ctx); err == nil {
		sessions.Add(1)
		_ = c.Close()
	}
	_ = conn.Close()
	work.Wait()
}

// TestReplayedResume: a basestation replays the introduction by which a session
// once moved, to nowhere. The session stays where it is.
func TestReplayedResume(t *testing.T) {
	store := newAccess(t)
	d, td, c := deceived(t, withAccess(store))
	accomplice := paired(t, store, "accomplice")
	back := away(t, c)
	seen := d.introduces(td.info.Fingerprint)
	conn, err := c.DialWith(deadline(t), "home", client.DialOptions{Via: client.ViaRelay})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Get(deadline(t), "/me"); err != nil {
		t.Fatal(err)
	}
	// Twice the relay falls silent until the session asks for another.
	honest := d.script[signal.PathConnect]
	d.on(signal.PathConnect, func(l *dleg, r *coap.Request) *coap.Response {
		d.silent.Store(false)
		return honest(l, r)
	})
	for n := 2; n <= 3; n++ {
		d.silent.Store(true)
		await(t, "the session asked for another path", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, _ = conn.Get(ctx, "/me")
			return seen.len() == n
		})
		await(t, "the session has moved", func() bool {
			_, err := conn.Get(deadline(t), "/me")
			return err == nil && d.relay.Stats().Allocations == 2
		})
	}
	seen.mu.Lock()
	old := seen.connects[1].Offer
	seen.mu.Unlock()
	if len(old.Resume) == 0 {
		t.Fatal("the second introduction goes on with no session")
	}
	leg := d.leg(td.info.Fingerprint)

	// Somebody else, even a user, cannot take the session over.
	session := newSession()
	stolen := &signal.Introduce{Session: session, Client: accomplice.Fingerprint()}
	stolen.Offer = offerOf(t, accomplice, signal.RoleClient, session, td.info.ID, func(o *signal.Offer) { o.Resume = old.Resume })
	if answer := leg.tell(t, signal.PathIntroduce, stolen); codeOf(answer) != latchkey.CodeNotFound {
		t.Errorf("a stolen session: %v", answer.Code)
	}

	// The same again leads nowhere, and the session does not follow.
	mine, its, end, err := d.relay.Grant(accomplice.Fingerprint(), td.info.Fingerprint, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	nowhere := relayed(t, d.addr, &mine)
	var moved atomic.Bool
	listening := make(chan struct{})
	go func() { // ends with the allocation
		defer close(listening)
		b := make([]byte, 4096)
		_, _ = nowhere.WriteTo(nil, net.UDPAddrFromAddrPort(mine.Peer)) // the permission
		for {
			if _, _, err := nowhere.ReadFrom(b); err != nil {
				return
			}
			moved.Store(true)
		}
	}()
	defer func() { _ = nowhere.Close(); <-listening }()
	asked := seen.len()
	d.on(signal.PathConnect, always(coap.Forbidden, nil)) // no help from here any more
	replay := &signal.Introduce{Session: old.Session, Client: identityOf(t, c).Fingerprint(), Offer: old, Relay: &its}
	var answer *coap.Response
	await(t, "the device has forgotten the introduction", func() bool {
		answer = leg.tell(t, signal.PathIntroduce, replay)
		return codeOf(answer) != latchkey.CodeTooMany
	})
	if answer.Code != coap.Created {
		t.Fatalf("the replay: %v %v", answer.Code, codeOf(answer))
	}
	await(t, "the device has come to the new relay", func() bool { return moved.Load() || d.relay.Stats().Allocations != 3 })
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if _, err := conn.Get(ctx, "/me"); err != nil {
			t.Errorf("after the replay: %v", err)
		}
		cancel()
	}
	if n := seen.len(); n != asked {
		t.Errorf("%d more introductions", n-asked)
	}
	back()
	lan(t, c)
}
