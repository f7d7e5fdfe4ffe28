package stream

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A peer is the model of a sender that uses all the credit it is given.
type modelPeer struct {
	w      window
	credit int64
	sent   int64
}

// Whatever readers and senders do, the windows of a session hold together no
// more than its limit and no less than a floor each, credit never shrinks and
// never goes beyond the window, and in the end all of it is back.
func TestCreditModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		limits := Limits{Streams: 1 + r.IntN(40), Credit: int64(1+r.IntN(8)) << 20}
		process := NewBudget(int64(1+r.IntN(16)) << 20)
		whole := process.free
		p := newPool(limits.elastic(), process)
		limit := limits.elastic() + int64(limits.Streams)*floorCredit
		now := time.Unix(0, 0)
		var peers []*modelPeer
		for range 3000 {
			now = now.Add(time.Duration(r.IntN(int(30 * time.Millisecond))))
			switch n := r.IntN(20); {
			case n == 0 && len(peers) < limits.Streams && p.open():
				m := &modelPeer{}
				m.w.open(p)
				if r.IntN(10) == 0 { // its fin came before the answer
					m.w.close()
					m.w.start(now)
					break
				}
				m.credit = m.w.start(now)
				peers = append(peers, m)
			case n == 1 && len(peers) > 0:
				i := r.IntN(len(peers))
				peers[i].w.close()
				peers = append(peers[:i], peers[i+1:]...)
			case len(peers) > 0:
				peers[r.IntN(len(peers))].step(t, r, now)
			}
			checkCredit(t, seed, peers, limit, process)
		}
		for _, m := range peers {
			m.w.close()
			m.w.close()
		}
		if p.elastic.free != limits.elastic() || process.free != whole {
			t.Fatalf("seed %d: credit is lost: %d of %d, %d of %d", seed, p.elastic.free, limits.elastic(), process.free, whole)
		}
	}
}

// step sends or reads something.
func (m *modelPeer) step(t *testing.T, r *rand.Rand, now time.Time) {
	t.Helper()
	if n := m.credit - m.sent; n > 0 && r.IntN(2) == 0 {
		n = 1 + r.Int64N(n)
		m.sent += n
		if !m.w.receive(int(n)) {
			t.Fatal("payload within credit was refused")
		}
		return
	}
	unread := m.w.received - m.w.read
	if unread == 0 {
		m.w.starved = true
		return
	}
	credit := m.w.consume(int(1+r.Int64N(unread)), now, 10*time.Millisecond)
	if credit != 0 && credit < m.credit {
		t.Fatalf("credit shrank from %d to %d", m.credit, credit)
	}
	m.credit = max(m.credit, credit)
}

func checkCredit(t *testing.T, seed uint64, peers []*modelPeer, limit int64, process *Budget) {
	t.Helper()
	var held int64
	for _, m := range peers {
		ahead := m.w.granted - m.w.read
		if ahead > m.w.size || m.w.size < floorCredit || m.w.granted != m.credit {
			t.Fatalf("seed %d: window %+v, told %d", seed, m.w, m.credit)
		}
		held += m.w.size
	}
	if held > limit || process.free < 0 || process.free > process.size {
		t.Fatalf("seed %d: %d bytes of %d are given, %d of the process are free", seed, held, limit, process.free)
	}
}

// read has a peer send all it may and a reader take it, n times, one window in
// each step of the clock.
func (m *modelPeer) read(n int, now *time.Time, step time.Duration) {
	for range n {
		*now = now.Add(step)
		burst := m.credit - m.sent
		m.sent = m.credit
		m.w.receive(int(burst))
		for range 8 {
			m.w.starved = true
			m.credit = max(m.credit, m.w.consume(int(burst/8), *now, 20*time.Millisecond))
		}
	}
}

func newModelPeer(p *pool, now time.Time) *modelPeer {
	m := &modelPeer{}
	p.open()
	m.w.open(p)
	m.credit = m.w.start(now)
	return m
}

func TestWindowGrowsToThePath(t *testing.T) {
	limits := Config{}.withDefaults().Limits
	now := time.Unix(0, 0)
	fast := newModelPeer(newPool(limits.elastic(), nil), now)
	if fast.w.size != startCredit {
		t.Errorf("a window begins at %d", fast.w.size)
	}
	if fast.read(50, &now, 20*time.Millisecond); fast.w.size < 2<<20 {
		t.Errorf("a window read once in each round trip grew to %d only", fast.w.size)
	}
	slow := newModelPeer(newPool(limits.elastic(), nil), now)
	if slow.read(50, &now, time.Second); slow.w.size != startCredit {
		t.Errorf("a window that its path does not fill grew to %d", slow.w.size)
	}
}

// One busy stream cannot keep all the credit: others that are busy get theirs.
func TestWindowsShare(t *testing.T) {
	limits := Config{}.withDefaults().Limits
	p := newPool(limits.elastic(), NewBudget(16<<20))
	now := time.Unix(0, 0)
	first := newModelPeer(p, now)
	first.read(50, &now, 20*time.Millisecond)
	second := newModelPeer(p, now)
	if second.w.size < 4*floorCredit {
		t.Errorf("the second began with %d", second.w.size)
	}
	for range 50 {
		first.read(1, &now, 10*time.Millisecond)
		second.read(1, &now, 10*time.Millisecond)
	}
	if first.w.size > 4*second.w.size || second.w.size > 4*first.w.size {
		t.Errorf("shares of %d and %d", first.w.size, second.w.size)
	}
}

// Streams that are opened and idle do not take everything.
func TestWindowsOfManyIdle(t *testing.T) {
	limits := Config{}.withDefaults().Limits
	p := newPool(limits.elastic(), nil)
	now := time.Unix(0, 0)
	for range limits.Streams - 1 {
		newModelPeer(p, now)
	}
	if last := newModelPeer(p, now); last.w.size < floorCredit {
		t.Errorf("the last began with %d", last.w.size)
	}
}

func TestBudget(t *testing.T) {
	b := NewBudget(10)
	if !b.take(4) || b.take(7) || !b.take(6) || b.take(1) {
		t.Error("take")
	}
	if b.give(10); b.free != 10 {
		t.Error("give")
	}
	var none *Budget
	if none.give(1); !none.take(1<<60) || none.scarce() {
		t.Error("a nil budget has an end")
	}
}

// TestStalledNeighbour: a stream whose reader has stopped gives nothing back;
// its neighbour, which reads, is not made to pay for that.
func TestStalledNeighbour(t *testing.T) {
	limits := Config{}.withDefaults().Limits
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := newPool(limits.elastic(), nil)
	var stalled, busy window
	for _, w := range []*window{&stalled, &busy} {
		if !p.open() {
			t.Fatal("no floor")
		}
		w.open(p)
		w.start(now)
	}
	for range 2 { // it was fast once
		stalled.size += p.grow(limits.elastic())
	}
	for more := p.grow(limits.elastic() / 8); more > 0; more = p.grow(limits.elastic() / 8) {
		busy.size += more
	}
	before := busy.size
	for range 10_000 {
		now = now.Add(time.Millisecond)
		if busy.granted > busy.read {
			busy.receive(int(busy.granted - busy.read))
			busy.consume(int(busy.granted-busy.read), now, time.Millisecond)
		}
	}
	if want := min(before, limits.elastic()/4); busy.size < want {
		t.Errorf("the busy stream has %d bytes of credit, want %d of the %d it had", busy.size, want, before)
	}
	busy.close()
	stalled.close()
	if n := p.streams.Load(); n != 0 {
		t.Errorf("%d streams are counted after the end", n)
	}
}
