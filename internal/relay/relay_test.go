package relay

import (
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"go.uber.org/goleak"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	client = fingerprint(1)
	device = fingerprint(2)

	c0 signal.Grant // nobody's
)

func fingerprint(i int) latchkey.Fingerprint {
	b := make([]byte, 64)
	for j := range b {
		b[j] = "0123456789abcdef"[(i>>(4*min(j, 7)))&15]
	}
	f, err := latchkey.ParseFingerprint(string(b))
	if err != nil {
		panic(err)
	}
	return f
}

// A net is a server whose datagrams go to peers in memory.
type testNet struct {
	t testing.TB
	s *Server

	mu    sync.Mutex
	peers map[netip.AddrPort]*peer
	sent  int // bytes, to anybody
	stray int // datagrams to nobody
}

func newNet(t testing.TB, cfg Config) *testNet {
	t.Helper()
	n := &testNet{t: t, peers: map[netip.AddrPort]*peer{}}
	cfg.Send = n.send
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.s = s
	t.Cleanup(s.Close)
	return n
}

func (n *testNet) send(b []byte, to netip.AddrPort) error {
	checkAnswer(n.t, b)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent += len(b)
	p := n.peers[to]
	if p == nil {
		n.stray++
		return nil
	}
	select {
	case p.inbox <- append([]byte(nil), b...):
	default:
	}
	return nil
}

func (n *testNet) bytes() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent
}

// checkAnswer: nothing that we send names software or gives reasons in words.
func checkAnswer(t testing.TB, b []byte) {
	if len(b) < stunHeader || b[0]&0xC0 != 0 {
		return
	}
	m := &stun.Message{Raw: b}
	if err := m.Decode(); err != nil {
		t.Errorf("sent a malformed message: %v", err)
		return
	}
	if m.Contains(stun.AttrSoftware) {
		t.Errorf("%s names software", m.Type)
	}
	if v, err := m.Get(stun.AttrErrorCode); err == nil && len(v) != 4 {
		t.Errorf("%s has a reason in words: %q", m.Type, v[4:])
	}
	if m.Type.Method == stun.MethodBinding && m.Type.Class == stun.ClassSuccessResponse && len(b) > stunHeader+24+8 {
		t.Errorf("binding answer of %d bytes", len(b))
	}
}

// grant makes a grant for client and device.
func (n *testNet) grant() (c, d signal.Grant, end func()) {
	n.t.Helper()
	c, d, end, err := n.s.Grant(client, device, time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	return c, d, end
}

// A peer speaks TURN by hand.
type peer struct {
	n     *testNet
	src   netip.AddrPort
	inbox chan []byte
	grant signal.Grant
	nonce stun.Nonce
	realm string

	forged bool // the nonce is not to be replaced
}

func (n *testNet) peer(src string, g signal.Grant) *peer {
	p := &peer{n: n, src: netip.MustParseAddrPort(src), inbox: make(chan []byte, 256), grant: g, realm: "latchkey"}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peers[p.src] = p
	return p
}

// raw is an attribute with its value as it is.
func raw(kind stun.AttrType, value ...byte) stun.Setter { return rawAttribute{kind, value} }

type rawAttribute struct {
	kind  stun.AttrType
	value []byte
}

func (r rawAttribute) AddTo(m *stun.Message) error {
	m.Add(r.kind, r.value)
	return nil
}

// xorPeer is an XOR-PEER-ADDRESS with the family as it is spelt.
type xorPeer netip.AddrPort

func (x xorPeer) AddTo(m *stun.Message) error {
	a := netip.AddrPort(x)
	v := binary.BigEndian.AppendUint16([]byte{0, 1}, a.Port()^magicCookie>>16)
	if a.Addr().Is6() {
		v[1] = 2
	}
	key := binary.BigEndian.AppendUint32(nil, magicCookie)
	key = append(key, m.TransactionID[:]...)
	for i, b := range a.Addr().AsSlice() {
		v = append(v, b^key[i])
	}
	m.Add(stun.AttrXORPeerAddress, v)
	return nil
}

var udpTransport = raw(stun.AttrRequestedTransport, 17, 0, 0, 0)

func (p *peer) request(method stun.Method, attrs ...stun.Setter) *stun.Message {
	setters := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attrs...)
	if p.nonce != nil {
		setters = append(setters, stun.NewUsername(p.grant.Username), stun.NewRealm(p.realm), p.nonce,
			stun.NewLongTermIntegrity(p.grant.Username, p.realm, p.grant.Password))
	}
	return stun.MustBuild(append(setters, stun.Fingerprint)...)
}

// do sends a request, with credentials once there was a challenge, and returns
// the code of the answer: 0 is success, -1 no answer.
func (p *peer) do(method stun.Method, attrs ...stun.Setter) (int, *stun.Message) {
	p.n.t.Helper()
	for {
		m := p.request(method, attrs...)
		p.n.s.Deliver(m.Raw, p.src)
		answer := p.answer(m.TransactionID)
		if answer == nil {
			return -1, nil
		}
		var code stun.ErrorCodeAttribute
		if code.GetFrom(answer) != nil {
			return 0, answer
		}
		stale := code.Code == stun.CodeStaleNonce && !p.forged
		if challenge := code.Code == stun.CodeUnauthorized && p.nonce == nil; !challenge && !stale {
			return int(code.Code), answer
		}
		if err := p.nonce.GetFrom(answer); err != nil {
			p.n.t.Fatalf("challenge without a nonce: %v", err)
		}
	}
}

func (p *peer) answer(id [stun.TransactionIDSize]byte) *stun.Message {
	for {
		b := p.next(2 * time.Second)
		if b == nil {
			return nil
		}
		m := &stun.Message{Raw: b}
		if b[0]&0xC0 == 0 && m.Decode() == nil && m.TransactionID == id {
			return m
		}
	}
}

// next returns what comes next, nil if nothing comes.
func (p *peer) next(wait time.Duration) []byte {
	select {
	case b := <-p.inbox:
		return b
	default:
	}
	select {
	case b := <-p.inbox:
		return b
	case <-time.After(wait):
		return nil
	}
}

func (p *peer) allocate() {
	p.n.t.Helper()
	if code, _ := p.do(stun.MethodAllocate, udpTransport); code != 0 {
		p.n.t.Fatalf("Allocate answered %d", code)
	}
}

func (p *peer) bind(number uint16, to netip.AddrPort) int {
	p.n.t.Helper()
	code, _ := p.do(stun.MethodChannelBind, raw(stun.AttrChannelNumber, byte(number>>8), byte(number), 0, 0), xorPeer(to))
	return code
}

func (p *peer) permit(to ...netip.AddrPort) int {
	p.n.t.Helper()
	var attrs []stun.Setter
	for _, a := range to {
		attrs = append(attrs, xorPeer(a))
	}
	code, _ := p.do(stun.MethodCreatePermission, attrs...)
	return code
}

func (p *peer) refresh(seconds uint32) int {
	p.n.t.Helper()
	code, _ := p.do(stun.MethodRefresh, raw(stun.AttrLifetime, binary.BigEndian.AppendUint32(nil, seconds)...))
	return code
}

func (p *peer) channelData(number uint16, payload []byte) {
	p.n.s.Deliver(frame(number, payload), p.src)
}

func frame(number uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, number)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	return append(b, payload...)
}

func (p *peer) indicate(to netip.AddrPort, payload []byte) {
	m := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), xorPeer(to),
		raw(stun.AttrData, payload...))
	p.n.s.Deliver(m.Raw, p.src)
}

// session is a grant with both sides allocated, and bound by channel if number
// is not 0.
func (n *testNet) session(number uint16) (c, d *peer, end func()) {
	n.t.Helper()
	cg, dg, end := n.grant()
	n.mu.Lock()
	k := len(n.peers)
	n.mu.Unlock()
	addr := func(i int) string { return netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String() + ":40000" }
	c, d = n.peer(addr(k), cg), n.peer(addr(k+1), dg)
	for _, p := range []*peer{c, d} {
		p.allocate()
		if number != 0 {
			if code := p.bind(number, p.grant.Peer); code != 0 {
				n.t.Fatalf("ChannelBind answered %d", code)
			}
		}
	}
	return c, d, end
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

var _ net.PacketConn = (*socket)(nil)
