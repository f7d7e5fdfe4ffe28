package basestation

import (
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
	// strangerLife is how long a peer may stay that neither attached nor was let
	// through the gate.
	strangerLife = time.Minute
	// silences is how many keep-alive periods a peer may be silent.
	silences = 3
)

// legs is the connected peers. One goroutine, the one in run, looks after the
// timers of all of them.
type legs struct {
	limits func() Limits

	mu        sync.Mutex
	slots     [slots]map[*leg]struct{} // all legs; ticked in turn
	count     int
	working   map[*leg]int                    // requests of ours under way
	byKey     map[latchkey.Fingerprint][]*leg // oldest first
	bySource  map[netip.AddrPort]*leg         // those by UDP
	strangers map[netip.Prefix]int            // not trusted
}

func newLegs(limits func() Limits) *legs {
	t := &legs{
		limits:    limits,
		working:   make(map[*leg]int),
		byKey:     make(map[latchkey.Fingerprint][]*leg),
		bySource:  make(map[netip.AddrPort]*leg),
		strangers: make(map[netip.Prefix]int),
	}
	for i := range t.slots {
		t.slots[i] = make(map[*leg]struct{})
	}
	return t
}

// add takes a leg in, unless there are too many strangers where it comes from.
func (t *legs) add(l *leg) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !l.trusted.Load() {
		prefix := prefixOf(l.source.Addr())
		if t.strangers[prefix] >= t.limits().PerSource {
			return false
		}
		t.strangers[prefix]++
	}
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
	return true
}

// trust notes that l is not a stranger.
func (t *legs) trust(l *leg) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, here := t.slots[l.slot][l]; here && !l.trusted.Swap(true) {
		t.forgetStranger(l)
	}
}

func (t *legs) forgetStranger(l *leg) {
	prefix := prefixOf(l.source.Addr())
	if t.strangers[prefix]--; t.strangers[prefix] <= 0 {
		delete(t.strangers, prefix)
	}
}

func (t *legs) remove(l *leg) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.slots[l.slot], l)
	t.count--
	delete(t.working, l)
	if !l.trusted.Load() {
		t.forgetStranger(l)
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
	if t.working[l] += by; t.working[l] <= 0 {
		delete(t.working, l)
	}
}

// of returns the newest leg of a key.
func (t *legs) of(key latchkey.Fingerprint) (*leg, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.byKey[key]
	if len(list) == 0 {
		return nil, false
	}
	return list[len(list)-1], true
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
	case now.Sub(l.heard()) > silences*s.limits().KeepAlive:
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
