package relay

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v4"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

func TestCredentials(t *testing.T) {
	n := newNet(t, Config{})
	c, d, _ := n.grant()
	ended, _, end := n.grant()
	end()
	for name, g := range map[string]signal.Grant{
		"wrong password":           {Username: c.Username, Password: d.Password},
		"empty password":           {Username: c.Username},
		"unknown user":             {Username: "x" + c.Username[1:], Password: c.Password},
		"empty user":               {Password: c.Password},
		"user with a suffix":       {Username: c.Username + ":1", Password: c.Password},
		"after the session's end":  ended,
		"user of 500 bytes":        {Username: strings.Repeat("u", 500), Password: c.Password},
		"user that is not text":    {Username: "\xff\x00\n", Password: c.Password},
		"user and password change": {Username: c.Password, Password: c.Username},
	} {
		p := n.peer("10.2.0.1:1000", g)
		if code, _ := p.do(stun.MethodAllocate, udpTransport); code != 400 {
			t.Errorf("%s: Allocate answered %d, want 400", name, code)
		}
	}
	p := n.peer("10.2.0.2:1000", c)
	p.realm = "another"
	if code, _ := p.do(stun.MethodAllocate, udpTransport); code != 400 {
		t.Errorf("another realm: Allocate answered %d, want 400", code)
	}
	p = n.peer("10.2.0.3:1000", c)
	p.nonce, p.forged = stun.NewNonce("000000000000000000000000"), true
	if code, _ := p.do(stun.MethodAllocate, udpTransport); code != 438 {
		t.Errorf("forged nonce: Allocate answered %d, want 438", code)
	}
	if s := n.s.Stats(); s.Allocations != 0 {
		t.Errorf("%d allocations", s.Allocations)
	}
}

// TestOneAllocation: one user name, one 5-tuple, and only its own user changes it.
func TestOneAllocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{})
		c, d, end := n.session(0x4000)
		for i := range 1000 {
			p := n.peer(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 3, byte(i >> 8), byte(i)}), 1).String(), c.grant)
			if code, _ := p.do(stun.MethodAllocate, udpTransport); code != 486 {
				t.Fatalf("another Allocate answered %d, want 486", code)
			}
		}
		if got := n.s.Stats().Allocations; got != 2 {
			t.Errorf("%d allocations, want 2", got)
		}
		thief := &peer{n: n, src: c.src, inbox: c.inbox, grant: d.grant, realm: c.realm, nonce: c.nonce}
		for name, code := range map[string]int{
			"Refresh": thief.refresh(0), "CreatePermission": thief.permit(c.grant.Peer), "ChannelBind": thief.bind(0x4001, c.grant.Peer),
		} {
			if code == 0 {
				t.Errorf("%s with another's credentials was allowed", name)
			}
		}
		if code := c.bind(0x4001, c.grant.Peer); code != 400 {
			t.Errorf("a second channel answered %d, want 400", code)
		}
		// Given up, it may be made anew.
		if code := c.refresh(0); code != 0 {
			t.Fatalf("Refresh answered %d", code)
		}
		again := n.peer("10.4.0.1:1", c.grant)
		again.allocate()
		end()
		if s := n.s.Stats(); s.Allocations != 0 || s.Grants != 0 {
			t.Errorf("after end: %+v", s)
		}
		if code := d.refresh(600); code == 0 {
			t.Error("Refresh after the end was allowed")
		}
		d.channelData(0x4000, []byte("late"))
		if s := n.s.Stats(); s.Packets != 0 {
			t.Errorf("%d packets relayed after the end", s.Packets)
		}
	})
}

// TestOff: what TURN has and the relay does not.
func TestOff(t *testing.T) {
	n := newNet(t, Config{})
	c, _, _ := n.grant()
	p := n.peer("10.2.0.1:1000", c)
	for name, attrs := range map[string][]stun.Setter{
		"TCP":            {raw(stun.AttrRequestedTransport, 6, 0, 0, 0)},
		"SCTP":           {raw(stun.AttrRequestedTransport, 132, 0, 0, 0)},
		"no transport":   nil,
		"IPv6":           {udpTransport, raw(stun.AttrRequestedAddressFamily, 2, 0, 0, 0)},
		"even port":      {udpTransport, raw(stun.AttrEvenPort, 0x80)},
		"reservation":    {udpTransport, raw(stun.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8)},
		"don't fragment": {udpTransport, raw(stun.AttrDontFragment)},
		"no lifetime":    {udpTransport, raw(stun.AttrLifetime, 0, 0, 0, 0)},
	} {
		if code, _ := p.do(stun.MethodAllocate, attrs...); code < 400 {
			t.Errorf("%s: Allocate answered %d", name, code)
		}
	}
	p.allocate()
	before := n.bytes()
	for _, method := range []stun.Method{stun.MethodConnect, stun.MethodConnectionBind} {
		n.s.Deliver(p.request(method, xorPeer(c.Peer), raw(stun.AttrConnectionID, 0, 0, 0, 1)).Raw, p.src)
	}
	if code := p.permit(c.Peer); code != 0 { // after the others were handled
		t.Errorf("CreatePermission answered %d", code)
	}
	if sent := n.bytes() - before; sent != stunHeader+24 {
		t.Errorf("%d bytes sent, want one answer to CreatePermission", sent)
	}
}

// TestLife: a credential is for a first use, an allocation lives on.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{Limits: Limits{Duration: 3 * time.Hour}})
		late, _, _ := n.grant()
		c, d, _ := n.session(0x4000)
		time.Sleep(maxFirstUse - time.Second)
		if got := n.s.Stats().Grants; got != 2 {
			t.Errorf("%d grants before the first use is over, want 2", got)
		}
		c.refresh(600)
		d.refresh(600)
		time.Sleep(2 * time.Second)
		if got := n.s.Stats().Grants; got != 1 {
			t.Errorf("%d grants after the first use is over, want 1", got)
		}
		if code, _ := n.peer("10.2.0.1:1", late).do(stun.MethodAllocate, udpTransport); code != 400 {
			t.Errorf("Allocate with an expired credential answered %d", code)
		}
		for range 16 { // 2 h 40 min
			time.Sleep(9 * time.Minute)
			for _, p := range []*peer{c, d} {
				if r, b, m := p.refresh(600), p.bind(0x4000, p.grant.Peer), p.permit(p.grant.Peer); r != 0 || b != 0 || m != 0 {
					t.Fatalf("Refresh, ChannelBind, CreatePermission of a live allocation answered %d, %d, %d", r, b, m)
				}
			}
			c.channelData(0x4000, []byte("alive"))
			if b := d.next(time.Second); string(b) != string(frame(0x4000, []byte("alive"))) {
				t.Fatalf("received %x", b)
			}
		}
		c.refresh(0)
		if code, _ := c.do(stun.MethodAllocate, udpTransport); code != 400 {
			t.Errorf("Allocate anew after the first use is over answered %d", code)
		}
		time.Sleep(30 * time.Minute) // the device refreshes no more
		if s := n.s.Stats(); s.Allocations != 0 || s.Grants != 0 {
			t.Errorf("after the last allocation: %+v", s)
		}
	})
}

// TestLastMoment: an allocation that is about to lapse is only refreshed.
func TestLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{})
		c, _, _ := n.session(0)
		for _, change := range []func() int{
			func() int { return c.permit(c.grant.Peer) },
			func() int { return c.bind(0x4000, c.grant.Peer) },
		} {
			c.refresh(60)
			time.Sleep(59*time.Second + time.Millisecond)
			before := n.bytes()
			for _, m := range []*stun.Message{
				c.request(stun.MethodCreatePermission, xorPeer(c.grant.Peer)),
				c.request(stun.MethodChannelBind, raw(stun.AttrChannelNumber, 0x40, 0, 0, 0), xorPeer(c.grant.Peer)),
			} {
				n.s.Deliver(m.Raw, c.src)
			}
			synctest.Wait()
			if sent := n.bytes() - before; sent != 0 {
				t.Errorf("%d bytes answered in the last moment", sent)
			}
			if code := c.refresh(60); code != 0 {
				t.Fatalf("Refresh answered %d", code)
			}
			if code := change(); code != 0 {
				t.Errorf("after Refresh answered %d", code)
			}
		}
		time.Sleep(61 * time.Second)
		if got := n.s.Stats().Allocations; got != 1 {
			t.Errorf("%d allocations, want the device's only", got)
		}
	})
}

// TestEndDuringRequests: sessions end while requests are in work.
func TestEndDuringRequests(t *testing.T) {
	n := newNet(t, Config{})
	for range 200 {
		c, d, end := n.session(0)
		var all sync.WaitGroup
		for _, p := range []*peer{c, d} {
			all.Go(func() {
				for i := range 4 {
					m := p.request(stun.MethodCreatePermission, xorPeer(p.grant.Peer))
					if i%2 == 1 {
						m = p.request(stun.MethodChannelBind, raw(stun.AttrChannelNumber, 0x40, 0, 0, 0), xorPeer(p.grant.Peer))
					}
					n.s.Deliver(m.Raw, p.src)
				}
			})
		}
		all.Go(end)
		all.Wait()
	}
	eventually(t, "no allocation is left", func() bool { return n.s.Stats().Allocations == 0 })
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{Limits: Limits{Duration: time.Hour, Bytes: 10_000, PerClient: 2, PerDevice: 3, Grants: 4}})
		c, d, _ := n.session(0x4000)
		for range 10 {
			c.channelData(0x4000, make([]byte, 500))
			d.channelData(0x4000, make([]byte, 500))
		}
		if s := n.s.Stats(); s.Bytes != 10_000 || s.Grants != 1 {
			t.Errorf("before the quota is used up: %+v", s)
		}
		c.channelData(0x4000, make([]byte, 1))
		if s := n.s.Stats(); s.Bytes != 10_000 || s.Grants != 0 || s.Allocations != 0 {
			t.Errorf("after the quota is used up: %+v", s)
		}
		synctest.Wait()

		c, d, _ = n.session(0x4000)
		for range 8 {
			time.Sleep(8 * time.Minute)
			c.refresh(600)
			d.refresh(600)
		}
		if s := n.s.Stats(); s.Grants != 0 || s.Allocations != 0 {
			t.Errorf("after the session's time: %+v", s)
		}

		grant := func(i, j int) error {
			_, _, _, err := n.s.Grant(fingerprint(i), fingerprint(j), time.Now())
			return err
		}
		for i, c := range []struct {
			client, device int
			want           error
		}{
			{1, 11, nil},
			{1, 12, nil},
			{1, 13, latchkey.ErrTooMany}, // of this client
			{2, 11, nil},
			{3, 11, nil},
			{4, 11, latchkey.ErrTooMany}, // for this device
			{4, 14, latchkey.ErrTooMany}, // of all
		} {
			if err := grant(c.client, c.device); !errors.Is(err, c.want) {
				t.Errorf("grant %d: %v, want %v", i, err, c.want)
			}
		}
		time.Sleep(maxFirstUse + time.Second)
		if err := grant(1, 11); err != nil {
			t.Errorf("after all have expired: %v", err)
		}
		n.s.Close()
		n.s.Close()
		if err := grant(1, 11); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if len(n.s.users)+len(n.s.names)+len(n.s.clients)+len(n.s.devices) != 0 {
			t.Error("Close left something")
		}
	})
}

// TestNames: unique, unroutable, and nothing in them tells whose they are.
func TestNames(t *testing.T) {
	n := newNet(t, Config{Limits: Limits{PerClient: 2000}})
	users, names := map[string]bool{}, map[netip.Addr]bool{}
	class := netip.MustParsePrefix("240.0.0.0/4")
	for range 1000 {
		c, d, _ := n.grant()
		if c.Peer != d.Self || d.Peer != c.Self || c.Expires != d.Expires || time.Until(c.Expires) > maxFirstUse {
			t.Fatalf("grants do not match: %v %v", c, d)
		}
		for _, g := range []signal.Grant{c, d} {
			if users[g.Username] || users[g.Password] || names[g.Self.Addr()] {
				t.Fatal("a name was given twice")
			}
			users[g.Username], users[g.Password], names[g.Self.Addr()] = true, true, true
			if a := g.Self.Addr(); !class.Contains(a) || a.As4()[0] == 255 || g.Self.Port() < 1024 {
				t.Errorf("name %s", g.Self)
			}
			if len(g.Username) != 20 || len(g.Password) != 32 {
				t.Errorf("user of %d characters, password of %d", len(g.Username), len(g.Password))
			}
			for _, f := range []latchkey.Fingerprint{client, device} {
				if strings.Contains(strings.ToLower(g.Username), f.String()[:6]) {
					t.Errorf("user name %s holds a part of a fingerprint", g.Username)
				}
			}
		}
	}
}

func TestRate(t *testing.T) {
	var r rate
	const perSecond = 1 << 20
	sent := 0
	for now := int64(0); now < int64(10*time.Second); now += int64(10 * time.Microsecond) { // 100,000 datagrams per second
		if r.take(1, perSecond, now) {
			sent += 1 + perDatagram
		}
	}
	want := 10 * perSecond
	if sent < want || sent > want+perSecond/2 {
		t.Errorf("%d bytes in 10 s, want %d", sent, want)
	}
}

// TestFairShare: a session above its rate loses datagrams, its neighbour none.
func TestFairShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{Limits: Limits{Rate: 100_000}})
		greedy, _, _ := n.session(0x4000)
		c, d, _ := n.session(0x4000)
		for range 1000 {
			for range 100 {
				greedy.channelData(0x4000, []byte("x"))
			}
			c.channelData(0x4000, make([]byte, 10))
			if d.next(0) == nil {
				t.Fatal("the neighbour lost a datagram")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if s := n.s.Stats(); s.Packets > 1000+10*100_000/perDatagram+1000 || s.Dropped < 80_000 {
			t.Errorf("%+v", s)
		}
	})
}
