package basestation

import (
	"cmp"
	"container/list"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
)

const (
	tickEvery = 100 * time.Millisecond
	slots     = 10 // a leg is looked after every slots ticks, a busy one at every tick
	// strangerLife is how long a peer may stay that neither attached nor was
	// introduced.
	strangerLife = time.Minute
	// legsPerKey is how many connections one key may have: processes of one user,
	// and those of a moving peer that are not yet known to have ended.
	legsPerKey = 16
	// guestShare is the part of Limits.Sessions that is for peers without a
	// registered key: one in so many.
	guestShare = 4
	// maxSilence is how long nothing may be heard of a peer: some of the probes
	// that peers send when it is quiet may be lost.
	maxSilence = 75 * time.Second
)

// legs is the connected peers. One goroutine, the one in run, looks after the
// timers of all of them.
//
// A guest is a peer whose key is no device's. A stranger is a guest that was not
// introduced to a device yet: few of them per source may be there, and the oldest
// makes room when there are too many guests, so that a crowd of them keeps
// nobody out who does what he came for at once.
type legs struct {
	limits func() Limits

	mu        sync.Mutex
	slots     [slots]map[*leg]struct{} // all legs; ticked in turn
	count     int
	working   map[*leg]int                    // requests of ours under way
	byKey     map[latchkey.Fingerprint][]*leg // oldest first
	bySource  map[netip.AddrPort]*leg         // those by UDP
	guests    int
	strangers list.List            // of *leg, oldest first
	perPrefix map[netip.Prefix]int // of strangers
}

func newLegs(limits func() Limits) *legs {
	t := &legs{
		limits:    limits,
		working:   make(map[*leg]int),
		byKey:     make(map[latchkey.Fingerprint][]*leg),
		bySource:  make(map[netip.AddrPort]*leg),
		perPrefix: make(map[netip.Prefix]int),
	}
	for i := range t.slots {
		t.slots[i] = make(map[*leg]struct{})
	}
	return t
}

// add takes a leg in, unless there is no room. Those in gone were taken out to
// make room, and are the caller's to end.
func (t *legs) add(l *leg) (gone []*leg, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	limits := t.limits()
	if l.guest && t.perPrefix[prefixOf(l.source.Addr())] >= limits.PerSource {
		return nil, false
	}
	if len(t.byKey[l.key]) >= legsPerKey {
		i := slices.IndexFunc(t.byKey[l.key], func(o *leg) bool { return !o.device })
		if i < 0 {
			return nil, false
		}
		gone = append(gone, t.byKey[l.key][i])
		t.drop(gone[0])
	}
	if l.guest && t.guests >= max(limits.Sessions/guestShare, 1) {
		oldest := t.strangers.Front()
		if oldest == nil {
			return gone, false
		}
		gone = append(gone, oldest.Value.(*leg))
		t.drop(gone[len(gone)-1])
	}
	t.put(l)
	return gone, true
}

func (t *legs) put(l *leg) {
	for i := range t.slots {
		if len(t.slots[i]) < len(t.slots[l.slot]) {
			l.slot = i
		}
	}
	t.slots[l.slot][l] = struct{}{}
	t.count++
	t.byKey[l.key] = append(t.byKey[l.key], l)
	if l.transport == "udp" {
		t.bySource[l.source] = l
	}
	if l.guest {
		t.guests++
		l.stranger = t.strangers.PushBack(l)
		t.perPrefix[prefixOf(l.source.Addr())]++
	}
}

// introduced notes that an introduction of l has begun: it is no stranger.
func (t *legs) introduced(l *leg) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.here(l) {
		t.trust(l)
	}
}

// attached notes that l is a device. It reports false if l had to make room.
func (t *legs) attached(l *leg) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.here(l) {
		return false
	}
	t.trust(l)
	l.device = true
	if l.guest { // its key was registered after it came
		l.guest = false
		t.guests--
	}
	return true
}

func (t *legs) here(l *leg) bool {
	_, ok := t.slots[l.slot][l]
	return ok
}

// trust makes l a stranger no more.
func (t *legs) trust(l *leg) {
	if !l.trusted.Swap(true) && l.vouch != nil {
		l.vouch()
	}
	t.forgetStranger(l)
}

func (t *legs) forgetStranger(l *leg) {
	if l.stranger == nil {
		return
	}
	t.strangers.Remove(l.stranger)
	l.stranger = nil
	decrease(t.perPrefix, prefixOf(l.source.Addr()))
}

func (t *legs) remove(l *leg) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(l)
}

func (t *legs) drop(l *leg) {
	if !t.here(l) {
		return
	}
	delete(t.slots[l.slot], l)
	t.count--
	delete(t.working, l)
	t.forgetStranger(l)
	if l.guest {
		t.guests--
	}
	t.byKey[l.key] = slices.DeleteFunc(t.byKey[l.key], func(o *leg) bool { return o == l })
	if len(t.byKey[l.key]) == 0 {
		delete(t.byKey, l.key)
	}
	if t.bySource[l.source] == l {
		delete(t.bySource, l.source)
	}
}

// busy counts requests of ours to a peer.
func (t *legs) busy(l *leg, by int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.working[l] += by; t.working[l] <= 0 || !t.here(l) {
		delete(t.working, l)
	}
}

// of returns the legs of a key, oldest first.
func (t *legs) of(key latchkey.Fingerprint) []*leg {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.byKey[key])
}

// proven reports whether datagrams from there are a peer's who proved a key.
func (t *legs) proven(source netip.AddrPort) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bySource[source] != nil
}

// all returns the legs of this moment.
func (t *legs) all() []*leg {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*leg, 0, t.count)
	for i := range t.slots {
		for l := range t.slots[i] {
			list = append(list, l)
		}
	}
	return list
}

// len returns how many there are, and how many of them have requests of ours to
// answer.
func (t *legs) len() (all, busy int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count, len(t.working)
}

// due returns the legs whose turn it is, and those that are busy beside them.
func (t *legs) due(turn int, buffer []*leg) (list []*leg, own int) {
	list = buffer[:0]
	t.mu.Lock()
	defer t.mu.Unlock()
	for l := range t.slots[turn] {
		list = append(list, l)
	}
	own = len(list)
	for l := range t.working {
		if l.slot != turn {
			list = append(list, l)
		}
	}
	return list, own
}

// run ticks the legs, and calls care for each once a second, until ctx ends.
func (t *legs) run(ctx context.Context, care func(*leg, time.Time)) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	var list []*leg
	for turn := 0; ; turn = (turn + 1) % slots {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			var own int
			list, own = t.due(turn, list)
			for i, l := range list {
				l.coap.Tick(now)
				if i < own {
					care(l, now)
				}
			}
			clear(list)
		}
	}
}

// care ends legs that are silent, that stay strangers, or whose key the registry
// no longer has.
func (s *station) care(l *leg, now time.Time) {
	switch id := l.attachedAs(); {
	case now.Sub(l.heard()) > cmp.Or(s.srv.silence, maxSilence):
		s.start(l.shut)
	case id != (latchkey.DeviceID{}):
		if d, ok := s.registry.ByKey(l.key); !ok || d.ID != id {
			s.presence.Remove(id, l)
			s.events.add(Event{Kind: EventRevoked, Device: id, Key: l.key, Source: l.source})
			s.introductions.endOf(l.key)
			l.End(latchkey.CodeRevoked)
		}
	case !l.trusted.Load() && now.Sub(l.since) > strangerLife:
		l.End(latchkey.CodeShutdown)
	}
}

// prefixOf returns the network that shares one budget: an IPv4 address or an IPv6
// /56.
func prefixOf(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 56
	}
	p, _ := ip.Prefix(bits) // fails for invalid addresses only, which share the zero prefix
	return p
}
