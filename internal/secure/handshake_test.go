package secure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey/internal/netlab"
	"github.com/latchkey-dev/latchkey/internal/packet"
)

// Handshake message types of the client's last flight.
const (
	messageCertificate       = 11
	messageClientKeyExchange = 16
	messageCertificateVerify = 15
)

// TestNothingMayBeMissing drops every subset of the client's last flight,
// again and again. Only with all five parts there is a session.
func TestNothingMayBeMissing(t *testing.T) {
	parts := []func(record) bool{
		plainMessage(messageCertificate),
		plainMessage(messageClientKeyExchange),
		plainMessage(messageCertificateVerify),
		func(r record) bool { return r.kind == typeChangeCipherSpec },
		func(r record) bool { return r.kind == typeHandshake && r.epoch == 1 }, // Finished
	}
	client, server := anyone(t), anyone(t)
	client.Timeout, server.Timeout = 3*time.Second, 3*time.Second
	for missing := range 1 << len(parts) {
		asked := 0
		server.Verify = func(Peer) error { asked++; return nil }
		synctest.Test(t, func(t *testing.T) {
			d := newDuo(client, server)
			d.set(func(b []byte) [][]byte {
				var kept []byte
				for _, r := range records(b) {
					drop := false
					for i, part := range parts {
						drop = drop || missing>>i&1 == 1 && part(r)
					}
					if !drop {
						kept = append(kept, r.raw...)
					}
				}
				return [][]byte{kept}
			}, nil)
			c, s, clientErr, serverErr := d.run(t.Context())
			if established := s != nil; established != (missing == 0) || established != (asked == 1) {
				t.Errorf("missing %05b: session %v, asked %d times; client: %v; server: %v", missing, established, asked, clientErr, serverErr)
			}
			for _, conn := range []*Conn{c, s} {
				if conn != nil {
					_ = conn.Close()
				}
			}
		})
	}
}

func plainMessage(kind byte) func(record) bool {
	return func(r record) bool {
		return r.kind == typeHandshake && r.epoch == 0 && len(r.raw) > headerSize && r.body()[0] == kind
	}
}

// TestLostLastFlight loses the server's last flight three times. The client
// repeats its own, and the server answers although it has finished.
func TestLostLastFlight(t *testing.T) {
	client, server := anyone(t), anyone(t)
	synctest.Test(t, func(t *testing.T) {
		d := newDuo(client, server)
		losses := 0
		d.set(nil, func(b []byte) [][]byte {
			if slices.ContainsFunc(records(b), func(r record) bool { return r.epoch == 1 }) && losses < 3 {
				losses++
				return nil
			}
			return [][]byte{b}
		})
		c, s := d.sessions(t)
		if losses != 3 {
			t.Errorf("%d losses", losses)
		}
		mustTalk(t, c, s)
	})
}

// TestLossyPath makes sessions over a path that loses, duplicates and
// reorders, and moves data.
func TestLossyPath(t *testing.T) {
	for seed := range uint64(20) {
		client, server := anyone(t), anyone(t)
		synctest.Test(t, func(t *testing.T) {
			n := netlab.NewNetwork()
			n.Impair(netlab.Impairment{
				Seed: seed, Loss: 0.2, Duplicate: 0.1, Delay: 20 * time.Millisecond, Jitter: 40 * time.Millisecond,
			})
			c, s := overNetwork(t, n, client, server)
			const count = 200
			for i := range count {
				if _, err := c.Write(fmt.Append(nil, i)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
			seen := make(map[string]bool)
			for len(s.got) > 0 {
				text := <-s.got
				if seen[text] {
					t.Errorf("seed %d: %s was delivered twice", seed, text)
				}
				seen[text] = true
			}
			if len(seen) < 60 { // 100 wait in the test's channel at most
				t.Errorf("seed %d: %d of %d arrived", seed, len(seen), count)
			}
		})
	}
}

var (
	clientAddr = netip.MustParseAddrPort("192.0.2.1:40000")
	serverAddr = netip.MustParseAddrPort("192.0.2.2:5690")
)

// overNetwork makes a session between two hosts that lasts until the test ends.
func overNetwork(t *testing.T, n *netlab.Network, client, server Config) (c, s *session) {
	t.Helper()
	a, b := n.Attach(clientAddr, packet.Config{HopLimit: 255}), n.Attach(serverAddr, packet.Config{HopLimit: 255})
	hc := NewClient(client, func(p []byte) error { return a.Send(p, serverAddr, netip.Addr{}) })
	hs := NewServer(server, func(p []byte) error { return b.Send(p, clientAddr, netip.Addr{}) })
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 2)
	go func() { served <- a.Serve(ctx, hc.Deliver) }()
	go func() { served <- b.Serve(ctx, hs.Deliver) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-served, <-served); err != nil {
			t.Error(err)
		}
	})
	d := &duo{client: hc, server: hs}
	return d.sessions(t)
}

func TestReplay(t *testing.T) {
	client, server := anyone(t), anyone(t)
	synctest.Test(t, func(t *testing.T) {
		d := newDuo(client, server)
		var kept [][]byte
		d.set(func(b []byte) [][]byte {
			kept = append(kept, slices.Clone(b))
			return [][]byte{b}
		}, nil)
		c, s := d.sessions(t)
		for i := range 50 {
			if err := talk(t, c, s, fmt.Sprint("message ", i)); err != nil {
				t.Fatal(err)
			}
		}
		for _, b := range slices.Concat(kept, kept) {
			s.Deliver(b, packet.Meta{})
		}
		synctest.Wait()
		if n := len(s.got); n != 0 {
			t.Errorf("%d datagrams were delivered again", n)
		}
		mustTalk(t, c, s)
	})
}

// TestReplayWindow takes a record that 4000 later ones overtook.
func TestReplayWindow(t *testing.T) {
	client, server := anyone(t), anyone(t)
	synctest.Test(t, func(t *testing.T) {
		d := newDuo(client, server)
		c, s := d.sessions(t)
		var late [][]byte
		d.set(func(b []byte) [][]byte { late = append(late, slices.Clone(b)); return nil }, nil)
		for _, text := range []string{"very late", "late"} {
			if _, err := c.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			if text == "very late" {
				for range 96 { // 4096 with those below
					_, _ = c.Write(nil)
				}
			}
		}
		d.set(nil, nil)
		for range 40 {
			for range 100 {
				_, _ = c.Write([]byte("x"))
			}
			synctest.Wait()
			for len(s.got) > 0 {
				<-s.got
			}
		}
		for _, i := range []int{0, len(late) - 1} {
			s.Deliver(late[i], packet.Meta{})
		}
		synctest.Wait()
		if len(s.got) != 1 || <-s.got != "late" {
			t.Error("the window is not 4096 records")
		}
	})
}

// TestForgedInHandshake injects every shape at every step of a handshake into
// both ends. Plain alerts and handshake messages may end this handshake, since
// anyone can forge those; all else must not matter, and never does a later
// handshake suffer.
func TestForgedInHandshake(t *testing.T) {
	client, server := anyone(t), anyone(t)
	client.Timeout, server.Timeout = 5*time.Second, 5*time.Second
	failed := 0
	for _, shape := range shapes() {
		plain := shape.data[3] == 0 && shape.data[4] == 0
		excused := plain && (shape.data[0] == typeAlert || shape.data[0] == typeHandshake || shape.data[0] == typeChangeCipherSpec)
		synctest.Test(t, func(t *testing.T) {
			d := newDuo(client, server)
			inject := func(b []byte) [][]byte { return [][]byte{shape.data, b, shape.data} }
			d.set(inject, inject)
			c, s, clientErr, serverErr := d.run(t.Context())
			ok := clientErr == nil && serverErr == nil
			if !ok {
				failed++
			}
			if !ok && !excused {
				t.Errorf("%s: client: %v; server: %v", shape.name, clientErr, serverErr)
			}
			for _, conn := range []*Conn{c, s} {
				if conn != nil {
					_ = conn.Close()
				}
			}
		})
	}
	t.Logf("%d of %d handshakes failed", failed, len(shapes()))
	pair(t, client, server)
}

// TestHandshakeBudget feeds a handshake more than any honest one needs.
// Application data has room of its own, which is small.
func TestHandshakeBudget(t *testing.T) {
	l := newLink(true, nil)
	feed := func(kind byte, epoch uint16) (library, session int) {
		for i := range uint64(1000) {
			l.deliver(forge(kind, epoch, i, make([]byte, 1000)), packet.Meta{})
			if kind != typeApplicationData {
				took, _ := take(t, l)
				library += len(took)
			}
		}
		_, rest := take(t, l)
		return library, len(rest)
	}
	if n, early := feed(typeApplicationData, 1); n > 0 || early > earlyQueue*maxRecord || early < earlyQueue*maxRecord*8/10 {
		t.Errorf("%d bytes for the library and %d early ones", n, early)
	}
	if n, _ := feed(typeHandshake, 0); n > handshakeBudget || n < handshakeBudget*8/10 {
		t.Errorf("a handshake took in %d bytes", n)
	}
	if n, _ := feed(typeHandshake, 1); n > 1100 {
		t.Errorf("another %d bytes", n)
	}
}

func TestHopLimitEvidence(t *testing.T) {
	near := packet.Meta{Src: clientAddr, Dst: serverAddr.Addr(), IfIndex: 3, HopLimit: 255}
	tests := []struct {
		name   string
		change func(i int, m *packet.Meta) // of the i-th datagram to the server
		want   bool
	}{
		{"all near", func(int, *packet.Meta) {}, true},
		{"first from afar", func(i int, m *packet.Meta) {
			if i == 0 {
				m.HopLimit = 254
			}
		}, false},
		{"last from afar", func(i int, m *packet.Meta) {
			if i == 2 {
				m.HopLimit = 64
			}
		}, false},
		{"unknown", func(_ int, m *packet.Meta) { m.HopLimit = 0 }, false},
		{"two interfaces", func(i int, m *packet.Meta) { m.IfIndex += i }, false},
		{"two addresses", func(i int, m *packet.Meta) {
			if i == 1 {
				m.Dst = clientAddr.Addr()
			}
		}, false},
	}
	for _, tt := range tests {
		client, server := anyone(t), anyone(t)
		var verified Peer
		server.Verify = func(p Peer) error { verified = p; return nil }
		d := newDuo(client, server)
		i := 0
		d.set(func(b []byte) [][]byte {
			m := near
			tt.change(i, &m)
			i++
			d.server.Deliver(b, m)
			return nil
		}, nil)
		c, s := d.sessions(t)
		if i < 3 {
			t.Fatalf("%s: %d datagrams made a handshake", tt.name, i)
		}
		if s.Peer().HopLimit255 != tt.want || verified.HopLimit255 != tt.want {
			t.Errorf("%s: evidence %v, told the hook %v, want %v", tt.name, s.Peer().HopLimit255, verified.HopLimit255, tt.want)
		}
		if verified.Meta != s.Peer().Meta || verified.Meta.Src != clientAddr {
			t.Errorf("%s: meta %+v, told the hook %+v", tt.name, s.Peer().Meta, verified.Meta)
		}
		if c.Peer().HopLimit255 {
			t.Errorf("%s: the client has evidence from nowhere", tt.name)
		}
	}
}

// TestDroppedDatagramsAreNoEvidence: what the filter drops says nothing about
// the peer, and what it takes counts even if it is forged.
func TestDroppedDatagramsAreNoEvidence(t *testing.T) {
	l := newLink(false, nil)
	l.deliver(forge(typeHandshake, 0, 0, []byte{1}), packet.Meta{HopLimit: 255})
	l.deliver(forge(typeApplicationData, 0, 1, []byte{1}), packet.Meta{HopLimit: 3})
	if !l.peer(Peer{}).HopLimit255 {
		t.Error("a dropped datagram counted")
	}
	l.deliver(forge(typeHandshake, 0, 2, []byte{1}), packet.Meta{HopLimit: 3})
	if l.peer(Peer{}).HopLimit255 {
		t.Error("a forged datagram did not count")
	}
}

func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silence := func([]byte) error { return nil }
		cfg := anyone(t)
		cfg.Timeout = 0
		start := time.Now()
		if _, err := NewClient(cfg, silence).Run(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nobody answered: %v", err)
		}
		if d := time.Since(start); d != DefaultTimeout {
			t.Errorf("gave up after %v", d)
		}
		unreachable := func([]byte) error { return syscall.ENETUNREACH }
		if _, err := NewClient(cfg, unreachable).Run(t.Context()); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("the network is unreachable: %v", err)
		}
		cause := errors.New("changed my mind")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if _, err := NewServer(cfg, silence).Run(ctx); !errors.Is(err, cause) {
			t.Errorf("canceled: %v", err)
		}
	})
}

// TestCancelAnywhere cancels handshakes at random moments; goleak finds what
// they leave.
func TestCancelAnywhere(t *testing.T) {
	client, server := anyone(t), anyone(t)
	random := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		d := newDuo(client, server)
		ctx, cancel := context.WithCancel(t.Context())
		left := random.IntN(8)
		count := func(b []byte) [][]byte {
			if left--; left < 0 {
				cancel()
			}
			return [][]byte{b}
		}
		d.set(count, count)
		c, s, _, _ := d.run(ctx)
		cancel()
		for _, conn := range []*Conn{c, s} {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}
}

// TestDeterministicNonces reads the explicit nonces of a session's records:
// they never repeat and they rise.
func TestDeterministicNonces(t *testing.T) {
	client, server := anyone(t), anyone(t)
	synctest.Test(t, func(t *testing.T) {
		d := newDuo(client, server)
		var ofClient, ofServer [][]byte
		watch := func(list *[][]byte) func([]byte) [][]byte {
			return func(b []byte) [][]byte {
				for _, r := range records(b) {
					if r.epoch == 1 {
						*list = append(*list, slices.Clone(r.body()[:8]))
					}
				}
				return [][]byte{b}
			}
		}
		d.set(watch(&ofClient), watch(&ofServer))
		c, s := d.sessions(t)
		for range 1000 {
			mustTalk(t, c, s)
		}
		for _, list := range [][][]byte{ofClient, ofServer} {
			if len(list) < 1001 {
				t.Errorf("%d records", len(list))
			}
			for i := 1; i < len(list); i++ {
				if bytes.Compare(list[i-1], list[i]) >= 0 {
					t.Fatalf("nonce %x follows %x", list[i], list[i-1])
				}
			}
		}
	})
}
