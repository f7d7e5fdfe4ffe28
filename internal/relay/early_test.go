package relay

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// TestEarlyDatagrams has one side send before the other has an allocation, or
// permission to hear it.
func TestEarlyDatagrams(t *testing.T) {
	for _, allocated := range []bool{false, true} {
		t.Run(fmt.Sprintf("allocated %v", allocated), func(t *testing.T) {
			n := newNet(t, Config{})
			cg, dg, end := n.grant()
			defer end()
			c, d := n.peer("10.1.0.1:4000", cg), n.peer("10.1.0.2:4000", dg)
			c.allocate()
			if code := c.permit(cg.Peer); code != 0 {
				t.Fatalf("CreatePermission answered %d", code)
			}
			if allocated {
				d.allocate()
			}
			for i := range earlyQueue + 3 {
				c.indicate(cg.Peer, []byte{byte(i), 1, 2, 3})
			}
			eventually(t, "sent", func() bool { return n.s.Stats().Dropped > 0 || allocated })
			if !allocated {
				d.allocate()
			}
			if b := d.next(20 * time.Millisecond); b != nil {
				t.Fatalf("got %x before it was permitted", b)
			}
			if code := d.permit(dg.Peer); code != 0 {
				t.Fatalf("CreatePermission answered %d", code)
			}
			want := earlyQueue
			if allocated {
				want += 3
			}
			for i := range want {
				m := &stun.Message{Raw: d.next(10 * time.Second)}
				if err := m.Decode(); err != nil {
					t.Fatalf("datagram %d: %v", i, err)
				}
				if data, _ := m.Get(stun.AttrData); !bytes.Equal(data, []byte{byte(i), 1, 2, 3}) {
					t.Errorf("datagram %d is %x", i, data)
				}
			}
			if b := d.next(20 * time.Millisecond); b != nil {
				t.Errorf("and then %x", b)
			}
		})
	}
}

// TestEarlyDatagramsBesideAFlood has the peer send as fast as it can from the
// moment that it can find the allocation: what was held must not wait for room.
func TestEarlyDatagramsBesideAFlood(t *testing.T) {
	s, err := New(Config{Send: func([]byte, netip.AddrPort) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	grant, _, _, err := s.Grant(client, device, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l := s.user(grant.Username)
	for i := range earlyQueue {
		l.hold([]byte{byte(i)})
	}
	flood := func(bool) {
		for a := l.allocation.Load(); a != nil && a.enqueue([]byte{0xff}); {
		}
	}
	k := newSocket(s, nil, 1)
	k.changed = flood
	k.current.src = netip.MustParseAddrPort("10.1.0.1:4000")
	made := make(chan *allocation, 1)
	go func() {
		conn, _, err := generator{k}.AllocatePacketConn(turn.AllocateListenerConfig{UserID: l.user, Network: "udp4"})
		if err != nil {
			t.Errorf("no allocation: %v", err)
		}
		a, _ := conn.(*allocation)
		made <- a
	}()
	select {
	case a := <-made:
		flood(true)
		for i := range earlyQueue {
			if d := <-a.queue; d.n != 1 || d.b[0] != byte(i) {
				t.Errorf("datagram %d is %x", i, d.b[:d.n])
			}
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the library waits for room in a queue")
	}
}
