package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/sctp"

	"github.com/latchkey-dev/latchkey"
)

const (
	// maxID is the largest stream id (RFC 8832 section 6). A client has the
	// even ones.
	maxID = 65534
	// idReserve is how many ids are left when Exhausted begins to say so.
	idReserve = 256
	// maxEnding is how many channels may be open beyond Streams: those that
	// are refused, or over and not yet reset by the peer.
	maxEnding = 1024
	// flushTime bounds what Close waits for the peer to acknowledge.
	flushTime = 500 * time.Millisecond
)

// errEnded is what streams fail with when the peer ended the association.
var errEnded = fmt.Errorf("stream: the peer ended the association: %w", latchkey.ErrReset)

// A Mux is the streams of one session. Its methods are safe for concurrent use.
type Mux struct {
	cfg     Config
	pool    *pool
	ctx     context.Context // ends with the cause of the end
	cancel  context.CancelCauseFunc
	turns   chan struct{} // holds an element for each open of ours that has no answer
	places  chan struct{} // and for each that the peer has not closed
	ready   chan struct{} // closed when assoc is set
	gone    chan struct{} // closed when the association is over
	told    chan struct{} // closed when cause is set
	wg      sync.WaitGroup
	readers sync.WaitGroup // of them, those that read a channel; added to under mu, before cause is set
	goodbye sync.Once
	leg     atomic.Pointer[leg]              // nil before the first Open or Deliver
	assoc   atomic.Pointer[sctp.Association] // nil before it is established

	// mu guards what follows. It is locked before the lock of a stream, never
	// after it.
	mu         sync.Mutex
	cause      error // why the Mux ends or ended, nil before
	streams    map[uint16]*Stream
	opening    map[uint16]bool       // channels whose open has not been read
	flows      map[uint16]*datagrams // by the id of their first channel
	used       idSet                 // ids of the peer's opens
	next       int                   // id of the next open of ours
	live       int                   // tunnels that are not over
	channels   int                   // SCTP streams that the peer has not reset
	unanswered int                   // opens of the peer that wait for an answer
	handlers   int                   // calls of Accept that have not answered
	urging     bool
}

// New returns a Mux. It has no goroutine and no association before the first
// Open, or the first packet of the peer's.
func New(cfg Config) *Mux {
	cfg = cfg.withDefaults()
	m := &Mux{
		cfg:     cfg,
		pool:    newPool(cfg.Limits.elastic(), cfg.Limits.Process),
		places:  make(chan struct{}, cfg.Limits.Streams),
		turns:   make(chan struct{}, cfg.Limits.Unanswered),
		ready:   make(chan struct{}),
		gone:    make(chan struct{}),
		told:    make(chan struct{}),
		streams: make(map[uint16]*Stream),
		opening: make(map[uint16]bool),
		flows:   make(map[uint16]*datagrams),
	}
	m.ctx, m.cancel = context.WithCancelCause(context.Background())
	return m
}

// Deliver takes one SCTP packet that arrived. It never blocks and does not
// keep packet; when too many wait it drops it.
func (m *Mux) Deliver(packet []byte) {
	l := m.leg.Load()
	if l == nil && !m.cfg.Client && isInit(packet) {
		l = m.start()
	}
	if l != nil {
		l.deliver(packet)
	}
}

// Silent says that nothing has been heard from the peer for a while.
func (m *Mux) Silent() {
	if l := m.leg.Load(); l != nil {
		l.hush()
	}
}

// Again says that the peer is heard again. What it has missed is sent at once:
// SCTP would wait until its timer expires, which has doubled meanwhile.
func (m *Mux) Again() {
	l, a := m.leg.Load(), m.assoc.Load()
	if l == nil {
		return
	}
	l.again()
	if a == nil || a.BufferedAmount() == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cause == nil && !m.urging {
		m.urging = true
		m.wg.Go(func() { m.urge(a) }) // ends after urgeFor, or with the Mux
	}
}

const (
	urgeEvery = 2 * time.Millisecond
	urgeFor   = 3 * time.Second
)

// urge helps the association over the loss of a whole window: its recovery
// sends one packet or two each time that it is woken, and the peer's delayed
// acknowledgements wake it less and less.
func (m *Mux) urge(a *sctp.Association) {
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.urging = false
	}()
	ticker := time.NewTicker(urgeEvery)
	defer ticker.Stop()
	for end := time.Now().Add(urgeFor); a.BufferedAmount() > 0 && time.Now().Before(end); {
		select {
		case <-m.ctx.Done():
			return
		case <-ticker.C:
			a.ActiveHeartbeat()
		}
	}
}

// Exhausted reports that fewer than 256 stream ids are left, so that new
// tunnels should be opened on another session. Only a client runs out.
func (m *Mux) Exhausted() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.next > maxID-2*idReserve
}

// Live returns how many tunnels are open.
func (m *Mux) Live() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.live
}

// Done is closed when the Mux has ended: by Close, by the peer, or because the
// association could not be made. Err then says why.
func (m *Mux) Done() <-chan struct{} { return m.ctx.Done() }

// Err returns why the Mux ended, nil before.
func (m *Mux) Err() error { return context.Cause(m.ctx) }

// Close ends every stream and the association. Streams fail with cause, and
// the peer is told its latchkey.Code; nil stands for net.ErrClosed and
// CodeShutdown. It waits at most half a second for the peer to acknowledge,
// and then for every goroutine, those of Config.Accept included.
func (m *Mux) Close(cause error) {
	if cause == nil {
		cause = net.ErrClosed
	}
	m.goodbye.Do(func() {
		_ = m.setCause(cause)
		for _, s := range m.snapshot() {
			s.abort(closeCode(cause), cause)
		}
		m.flush()
	})
	m.end(cause)
	m.wg.Wait()
}

// setCause sets why the Mux ends, unless it ended before, and returns it.
func (m *Mux) setCause(cause error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cause == nil {
		m.cause = cause
		close(m.told)
	}
	return m.cause
}

// Ending says why the peer is about to end the association. Nothing is opened any
// more; what is open fails with cause when the end comes.
func (m *Mux) Ending(cause error) { _ = m.setCause(cause) }

// reasonTime is how long a client whose association the peer has ended waits for
// the reason, which travels beside the association and may come a little later.
const reasonTime = 200 * time.Millisecond

// awaitReason waits until there is a cause, at most for reasonTime.
func (m *Mux) awaitReason() {
	timer := time.NewTimer(reasonTime)
	defer timer.Stop()
	select {
	case <-m.told:
	case <-timer.C:
	}
}

// because returns why the association is over, if it is, and otherwise err.
func (m *Mux) because(ctx context.Context, err error) error {
	select {
	case <-m.gone:
	default:
		return err
	}
	select {
	case <-m.ctx.Done():
		return context.Cause(m.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// closeCode is what the peer is told about cause.
func closeCode(cause error) latchkey.Code {
	code := latchkey.CodeOf(cause)
	if code == latchkey.CodeInternal && !errors.Is(cause, latchkey.ErrInternal) {
		return latchkey.CodeShutdown
	}
	return code
}

// flush lets the last messages reach the peer.
func (m *Mux) flush() {
	a := m.assoc.Load()
	if a == nil || m.Err() != nil || a.BufferedAmount() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	_ = a.Shutdown(ctx)
}

// start begins the association, once, and returns its leg, nil if the Mux has
// ended.
func (m *Mux) start() *leg {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.leg.Load(); l != nil || m.cause != nil {
		return l
	}
	l := newLeg(m.cfg.Send)
	m.leg.Store(l)
	m.wg.Go(func() { m.run(l) }) // ends with the association, which end ends
	return l
}

// run makes the association and takes what the peer opens.
func (m *Mux) run(l *leg) {
	a, err := associate(l, m.cfg.Client, m.cfg.MTU, m.cfg.Log)
	if err != nil {
		m.end(err)
		return
	}
	m.assoc.Store(a)
	close(m.ready)
	for {
		s, err := a.AcceptStream()
		if err != nil {
			break
		}
		if err := m.accept(s); err != nil {
			_ = m.setCause(err)
			a.Abort(err.Error())
		}
	}
	close(m.gone)
	if m.cfg.Client {
		m.awaitReason()
	}
	_ = m.setCause(errEnded) // nothing is opened any more
	m.readers.Wait()         // what has arrived is read
	m.end(errEnded)
	_ = a.Close()
}

// end fails every stream and the association. The first cause counts.
func (m *Mux) end(cause error) {
	cause = m.setCause(cause)
	m.cancel(cause)
	for _, s := range m.snapshot() {
		s.fail(cause)
	}
	m.mu.Lock()
	clear(m.streams)
	m.mu.Unlock()
	if l := m.leg.Load(); l != nil {
		_ = l.Close() // ends the association
	}
}

// snapshot returns the streams there are.
func (m *Mux) snapshot() []*Stream {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*Stream, 0, len(m.streams))
	for _, s := range m.streams {
		all = append(all, s)
	}
	return all
}

// connected waits for the association.
func (m *Mux) connected(ctx context.Context) (*sctp.Association, error) {
	m.start()
	select {
	case <-m.ready:
		return m.assoc.Load(), nil
	case <-m.ctx.Done():
		return nil, context.Cause(m.ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// rtt is the smoothed round trip of the association, 0 while unknown.
func (m *Mux) rtt() time.Duration {
	return time.Duration(m.assoc.Load().SRTT() * float64(time.Millisecond))
}

// inFlight is how many bytes the path takes at once.
func (m *Mux) inFlight() uint64 { return uint64(m.assoc.Load().CWND()) }

// backlog is how many bytes of one stream may wait in the association: what
// can be in flight and a little, so that what follows on the same stream, a
// credit or a reset, does not wait long behind it. Many streams share a bound.
func (m *Mux) backlog() uint64 {
	m.mu.Lock()
	live := m.live
	m.mu.Unlock()
	share := 4 * uint64(m.cfg.Limits.Credit) / uint64(max(live, 4))
	return min(m.inFlight()+8*maxSend, max(share, 4*maxSend))
}

// An idSet is a set of stream ids.
type idSet []uint64

// add adds id and reports whether it was absent.
func (s *idSet) add(id uint16) bool {
	word, bit := int(id/64), uint64(1)<<(id%64)
	for len(*s) <= word {
		*s = append(*s, 0)
	}
	if (*s)[word]&bit != 0 {
		return false
	}
	(*s)[word] |= bit
	return true
}

func (s idSet) has(id uint16) bool {
	word := int(id / 64)
	return word < len(s) && s[word]&(1<<(id%64)) != 0
}
