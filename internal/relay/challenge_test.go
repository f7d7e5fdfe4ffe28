package relay

import (
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v4"
)

// TestAllocateDuringFlood has strangers send so many requests that the library
// is late with them. Who has a grant is answered all the same.
func TestAllocateDuringFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{Proven: func(netip.AddrPort) bool { return false }})
		busy := make(chan struct{}) // keeps the library at one answer
		blocker := netip.MustParseAddrPort("203.0.113.1:1")
		free := sync.OnceFunc(func() { close(busy) })
		defer free()
		send := n.s.udp.send
		n.s.udp.send = func(b []byte, to netip.AddrPort) error {
			if to == blocker {
				<-busy
			}
			return send(b, to)
		}
		c, _, _ := n.grant()
		p := n.peer("10.1.0.1:4000", c)
		if code, _ := n.peer("203.0.113.2:1", c0).do(stun.MethodRefresh); code != 400 {
			t.Fatalf("Refresh of a stranger answered %d", code)
		}
		forged := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), udpTransport,
			stun.NewUsername("u"), stun.NewRealm("latchkey"), stun.NewNonce("n"), stun.NewLongTermIntegrity("u", "latchkey", "p")).Raw
		plain := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), udpTransport).Raw
		n.s.Deliver(forged, blocker)
		synctest.Wait()
		flood := func() {
			for i := range 2 * udpQueue {
				src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 1)
				n.s.Deliver(forged, src)
				n.s.Deliver(plain, src)
			}
		}
		flood()

		first := p.request(stun.MethodAllocate, udpTransport)
		n.s.Deliver(first.Raw, p.src)
		answer := p.answer(first.TransactionID)
		if answer == nil || p.nonce.GetFrom(answer) != nil {
			t.Fatal("no challenge")
		}
		second := p.request(stun.MethodAllocate, udpTransport)
		n.s.Deliver(second.Raw, p.src)
		flood()
		free()
		if answer = p.answer(second.TransactionID); answer == nil || answer.Type.Class != stun.ClassSuccessResponse {
			t.Fatalf("no allocation: %v", answer)
		}
	})
}

// TestChallenge compares ours with the library's.
func TestChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{})
		src := 0
		ask := func(method stun.Method, attrs ...stun.Setter) *stun.Message {
			src++
			p := n.peer(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 4, 0, byte(src)}), 1).String(), c0)
			m := p.request(method, attrs...)
			n.s.Deliver(m.Raw, p.src)
			answer := p.answer(m.TransactionID)
			if answer == nil {
				t.Fatalf("%v: no answer", method)
			}
			return answer
		}
		for _, method := range []stun.Method{stun.MethodAllocate, stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind} {
			n.s.udp.challenge.Store(nil)
			theirs := ask(method)
			if n.s.udp.challenge.Load() == nil {
				t.Fatalf("%v: nothing is learned of %v", method, theirs)
			}
			made := n.s.udp.challenge.Load()
			ours := ask(method)
			if n.s.udp.challenge.Load() != made {
				t.Errorf("%v: the library was asked", method)
			}
			if string(ours.Raw[stunHeader:]) != string(theirs.Raw[stunHeader:]) || ours.Type != theirs.Type {
				t.Errorf("%v: we say %v, the library %v", method, ours, theirs)
			}
		}
		old := n.s.udp.challenge.Load()
		time.Sleep(challengeLife + 1)
		ask(stun.MethodAllocate)
		if n.s.udp.challenge.Load() == old {
			t.Error("a nonce is given out for too long")
		}
	})
}
