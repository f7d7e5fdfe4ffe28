package relay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v4"

	"github.com/latchkey-dev/latchkey/internal/budget"
)

func TestChannelData(t *testing.T) {
	n := newNet(t, Config{})
	c, d, _ := n.session(0x4000)
	whole := frame(0x4000, randomBytes(100))
	for name, b := range map[string][]byte{
		"exact":       whole,
		"padded":      append(bytes.Clone(whole), 0, 0, 0),
		"empty":       frame(0x4000, nil),
		"largest":     frame(0x4000, randomBytes(maxPayload)),
		"looks nice":  frame(0x4000, whole),
		"one byte":    frame(0x4000, []byte{0}),
		"of 20 bytes": frame(0x4000, make([]byte, 16)),
	} {
		n.s.Deliver(b, c.src)
		want := b[:4+int(binary.BigEndian.Uint16(b[2:]))]
		if got := d.next(0); !bytes.Equal(got, want) {
			t.Errorf("%s: received %d bytes, want %d", name, len(got), len(want))
		}
	}
	before := n.s.Stats()
	for name, b := range map[string][]byte{
		"nothing":             {},
		"header only in part": whole[:3],
		"length too large":    whole[:len(whole)-1],
		"length 65535":        {0x40, 0, 0xff, 0xff, 0},
		"too large":           frame(0x4000, make([]byte, maxPayload+1)),
		"unbound channel":     frame(0x4001, []byte("x")),
		"reserved channel":    frame(0x5000, []byte("x")),
		"DTLS":                {22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0},
		"channel 0xffff":      frame(0xffff, []byte("x")),
	} {
		n.s.Deliver(b, c.src)
		n.s.Deliver(b, netip.MustParseAddrPort("10.9.9.9:9"))
		if got := d.next(0); got != nil {
			t.Errorf("%s: relayed %x", name, got)
		}
	}
	n.s.Deliver(whole, netip.MustParseAddrPort("10.9.9.9:9"))
	n.s.Deliver(whole, netip.AddrPort{})
	if after := n.s.Stats(); after != before {
		t.Errorf("was %+v, is %+v", before, after)
	}
	n.s.Deliver(whole, netip.AddrPortFrom(netip.AddrFrom16(c.src.Addr().As16()), c.src.Port()))
	if got := d.next(0); !bytes.Equal(got, whole) {
		t.Error("the mapped spelling of a source is another source")
	}
}

// TestChannelNumbers: each side chooses its own, or none.
func TestChannelNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{})
		c, d, _ := n.session(0)
		if code := c.bind(0x4123, c.grant.Peer); code != 0 {
			t.Fatalf("ChannelBind answered %d", code)
		}
		c.channelData(0x4123, []byte("held")) // the device permits nothing yet
		synctest.Wait()
		if code := d.permit(d.grant.Peer); code != 0 {
			t.Fatalf("CreatePermission answered %d", code)
		}
		c.channelData(0x4123, []byte("indicated"))
		for _, want := range []string{"held", "indicated"} {
			m := &stun.Message{Raw: d.next(2 * time.Second)}
			if err := m.Decode(); err != nil || m.Type != stun.NewType(stun.MethodData, stun.ClassIndication) {
				t.Fatalf("not a Data indication: %v, %v", m, err)
			}
			if v, _ := m.Get(stun.AttrData); string(v) != want {
				t.Errorf("received %q, want %q", v, want)
			}
		}
		d.indicate(d.grant.Peer, []byte("back"))
		if got := c.next(2 * time.Second); !bytes.Equal(got, frame(0x4123, []byte("back"))) {
			t.Errorf("received %x", got)
		}
		if code := d.bind(0x4fff, d.grant.Peer); code != 0 {
			t.Fatalf("ChannelBind answered %d", code)
		}
		c.channelData(0x4123, []byte("bound"))
		if got := d.next(0); !bytes.Equal(got, frame(0x4fff, []byte("bound"))) {
			t.Errorf("received %x", got)
		}
	})
}

// TestQueueDropsNewest: a client that permits nothing yet holds up nobody.
func TestQueueDropsNewest(t *testing.T) {
	l := &leg{}
	l.peer = l
	a := &allocation{leg: l, queue: make(chan *datagram, memoryQueue), k: newSocket(nil, nil, 1), permitted: make(chan struct{}), done: make(chan struct{})}
	close(a.permitted)
	for i := range memoryQueue + 10 {
		if ok := a.enqueue([]byte{byte(i)}); ok != (i < memoryQueue) {
			t.Errorf("datagram %d taken: %t", i, ok)
		}
	}
	var b [10]byte
	for i := range memoryQueue {
		if k, _, err := a.ReadFrom(b[:]); k != 1 || b[0] != byte(i) || err != nil {
			t.Fatalf("read %d bytes, %d, %v", k, b[0], err)
		}
	}
}

func TestBinding(t *testing.T) {
	n := newNet(t, Config{Proven: func(netip.AddrPort) bool { return true }})
	for _, src := range []string{"192.0.2.7:4711", "[2001:db8::7]:4711"} {
		for _, setters := range [][]stun.Setter{nil, {stun.Fingerprint}, {stun.NewSoftware("x"), stun.Fingerprint}, {stun.NewUsername("a:b")}} {
			p := n.peer(src, c0)
			m := stun.MustBuild(append([]stun.Setter{stun.TransactionID, stun.BindingRequest}, setters...)...)
			n.s.Deliver(m.Raw, p.src)
			answer := p.answer(m.TransactionID)
			var mapped stun.XORMappedAddress
			if answer == nil || mapped.GetFrom(answer) != nil {
				t.Fatalf("%s: no mapped address", src)
			}
			if got := netip.MustParseAddrPort(mapped.String()); got != p.src {
				t.Errorf("mapped address %s, want %s", got, p.src)
			}
			if _, err := m.Get(stun.AttrFingerprint); err == nil {
				if err := stun.Fingerprint.Check(answer); err != nil {
					t.Error(err)
				}
			}
		}
	}
	p := n.peer("192.0.2.8:1", c0)
	if code, _ := p.do(stun.MethodBinding, raw(0x0003, 0, 0, 0, 6)); code != 420 { // CHANGE-REQUEST of RFC 5780
		t.Errorf("an attribute that has to be understood: answered %d, want 420", code)
	}
}

// TestNoAnswer: what a server is not asked by clients.
func TestNoAnswer(t *testing.T) {
	n := newNet(t, Config{})
	src := netip.MustParseAddrPort("192.0.2.9:1")
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.Fingerprint).Raw
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(request)) }
	for _, b := range [][]byte{
		edit(func(b []byte) []byte { return b[:len(b)-1] }),
		edit(func(b []byte) []byte { return append(b, 0, 0, 0, 0) }),
		edit(func(b []byte) []byte { b[4]++; return b }),       // cookie
		edit(func(b []byte) []byte { b[22] = 0xff; return b }), // length of an attribute
		edit(func(b []byte) []byte { b[0] = 0x01; return b }),  // responses
		edit(func(b []byte) []byte { b[0], b[1] = 0x01, 0x11; return b }),
		edit(func(b []byte) []byte { b[1] = 0x11; return b }), // indications
		edit(func(b []byte) []byte { b[1] = 0x16; return b }),
		edit(func(b []byte) []byte { b[1] = 0x17; return b }),
		edit(func(b []byte) []byte { b[1] = 0x0a; return b }), // Connect
		edit(func(b []byte) []byte { b[1] = 0x0b; return b }), // ConnectionBind
		edit(func(b []byte) []byte { b[1] = 0x0c; return b }),
		edit(func(b []byte) []byte { b[0] = 0x3e; return b }),
		make([]byte, 28), make([]byte, 1600), make([]byte, 65507),
	} {
		n.s.Deliver(b, src)
	}
	n.peer(src.String(), c0).do(stun.MethodBinding) // after all that is handled
	if got := n.bytes(); got != stunHeader+12+8 {
		t.Errorf("%d bytes sent, want the last answer only", got)
	}
	before := n.bytes()
	n.s.Close()
	n.s.Deliver(request, src)
	if n.bytes() != before {
		t.Error("answered after Close")
	}
}

// TestFlood: forged requests from one source and from very many make no more
// bytes than they are, and no state.
func TestFlood(t *testing.T) {
	nonce := []stun.Setter{stun.NewUsername("u"), stun.NewRealm("latchkey"), stun.NewNonce("n"), stun.NewLongTermIntegrity("u", "latchkey", "p")}
	requests := map[string][]byte{
		"Binding":       stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw,
		"Binding full":  stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.Fingerprint).Raw,
		"Allocate":      stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), udpTransport).Raw,
		"Allocate bare": stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest)).Raw,
		"Refresh":       stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodRefresh, stun.ClassRequest)).Raw,
		"signed":        stun.MustBuild(append([]stun.Setter{stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest)}, nonce...)...).Raw,
	}
	one := func(int) netip.AddrPort { return netip.MustParseAddrPort("192.0.2.1:1") }
	many := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
	}
	for name, request := range requests {
		for kind, c := range map[string]struct {
			source func(int) netip.AddrPort
			times  int
			once   int // prefixes that may get three times their first request
		}{"one": {one, 10_000, 1}, "many": {many, 30_000, 8192}} {
			synctest.Test(t, func(t *testing.T) {
				n := newNet(t, Config{Budget: &budget.Budget{Prefixes: 8192}})
				received := 0
				for i := range c.times {
					n.s.Deliver(request, c.source(i))
					received += len(request)
					if i%100 == 0 {
						synctest.Wait() // until the library is through with its queue
					}
				}
				synctest.Wait()
				sent, bonus := n.bytes(), c.once*2*len(request)
				t.Logf("%s from %s: %d bytes for %d, %.2f", name, kind, sent, received, float64(sent)/float64(received))
				if sent > received+bonus {
					t.Errorf("%s from %s: %d bytes sent for %d", name, kind, sent, received)
				}
				if s := n.s.Stats(); s.Grants+s.Allocations != 0 || n.s.budget.Accounts() > 8192 {
					t.Errorf("state after a flood: %+v", s)
				}
			})
		}
	}
}

// TestProven: the caller's own peers need no budget.
func TestProven(t *testing.T) {
	friend := netip.MustParseAddrPort("192.0.2.1:1")
	n := newNet(t, Config{Proven: func(src netip.AddrPort) bool { return src == friend }})
	m := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	for _, c := range []struct {
		src  string
		want int
	}{{"192.0.2.1:1", 1000}, {"192.0.2.2:1", 626}} { // 20 bytes each, 32 the answer, 40 once
		before := n.bytes()
		for range 1000 {
			n.s.Deliver(m.Raw, netip.MustParseAddrPort(c.src))
		}
		if got := (n.bytes() - before) / 32; got != c.want {
			t.Errorf("%s: %d answers, want %d", c.src, got, c.want)
		}
	}
}

// TestStrangersWaitBehindThoseWhoRelay: a flood does not hold up a Refresh.
func TestStrangersWaitBehindThoseWhoRelay(t *testing.T) {
	k := newSocket(&Server{}, nil, 4)
	for _, c := range []struct {
		queue chan *datagram
		n     int
	}{{k.strangers, 20}, {k.strangers, 20}, {k.known, 24}} {
		d := newDatagram()
		d.n = c.n
		c.queue <- d
	}
	var b [64]byte
	for i, want := range []int{24, 20, 20} {
		if n, _, _ := k.ReadFrom(b[:]); n != want {
			t.Errorf("message %d has %d bytes, want %d", i, n, want)
		}
	}
}

func FuzzDeliver(f *testing.F) {
	n := newNet(f, Config{})
	c, _, _ := n.session(0x4000)
	for _, m := range []*stun.Message{
		c.request(stun.MethodBinding), c.request(stun.MethodAllocate, udpTransport), c.request(stun.MethodRefresh),
		c.request(stun.MethodCreatePermission, xorPeer(c.grant.Peer)), c.request(stun.MethodConnect),
		c.request(stun.MethodChannelBind, xorPeer(c.grant.Peer), raw(stun.AttrChannelNumber, 0x40, 0, 0, 0)),
		stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), xorPeer(c.grant.Peer), raw(stun.AttrData, 1)),
	} {
		f.Add(m.Raw)
	}
	f.Add(frame(0x4000, []byte("payload")))
	f.Add([]byte{0x40, 0, 0xff, 0xff})
	stranger := n.peer("192.0.2.1:1", c0).src
	f.Fuzz(func(t *testing.T, b []byte) {
		kept := bytes.Clone(b)
		n.s.Deliver(b, stranger)
		n.s.Deliver(b, c.src)
		if len(b) >= stunHeader { // the same attributes, of a known user
			m := &stun.Message{Raw: bytes.Clone(b)}
			if m.Decode() == nil {
				signed := stun.New()
				signed.Type, signed.TransactionID = m.Type, m.TransactionID
				signed.WriteHeader()
				for _, a := range m.Attributes {
					if a.Type != stun.AttrMessageIntegrity && a.Type != stun.AttrFingerprint && a.Type != stun.AttrUsername {
						signed.Add(a.Type, a.Value)
					}
				}
				for _, s := range []stun.Setter{
					stun.NewUsername(c.grant.Username), stun.NewRealm(c.realm), c.nonce,
					stun.NewLongTermIntegrity(c.grant.Username, c.realm, c.grant.Password),
				} {
					if s.AddTo(signed) != nil {
						return
					}
				}
				n.s.Deliver(signed.Raw, c.src)
			}
		}
		if !bytes.Equal(b, kept) {
			t.Fatal("Deliver changed what it was given")
		}
		n.mu.Lock()
		stray := n.stray
		n.mu.Unlock()
		if stray != 0 {
			t.Fatal("something left to nobody")
		}
	})
}
