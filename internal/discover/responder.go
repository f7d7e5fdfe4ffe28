package discover

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	probes     = 3 // RFC 6762 section 8.1
	probePause = 250 * time.Millisecond

	announcements = 3 // section 8.3, each pause twice the one before
	announcePause = time.Second

	answerPause = time.Second // between two multicasts on one outlet (section 6)
	defendPause = 250 * time.Millisecond
	answerDelay = 20 * time.Millisecond // and up to 100 ms more, so that not all answer at once
	maxLegacy   = 10                    // unicast answers per second

	never = 100 * 365 * 24 * time.Hour
)

// A packet is to be sent: to the group on an outlet, or to one address.
type packet struct {
	b  []byte
	on outlet
	to netip.AddrPort // valid: to this address instead
}

// A responder answers for one device. It first probes whether its name is free,
// then announces, then answers. It is a state machine without goroutines.
type responder struct {
	info    Info
	outlets map[outlet]*link
	label   string // first label of the instance's name
	renamed bool   // the name was taken, so label has a part of the key in it

	phase  int // probes and announcements sent so far
	nextAt time.Time
	spoke  bool // announced under this label, so there is something to take back

	answers map[outlet]answer
	second  time.Time // legacy answers are counted by the second
	legacy  int

	jitter func(time.Duration) time.Duration // tests make it constant
}

// An answer is due on an outlet, or was given last.
type answer struct {
	last time.Time
	due  time.Time // zero: none
}

func newResponder(now time.Time, info Info, outlets map[outlet]*link) *responder {
	r := &responder{info: info, jitter: rand.N[time.Duration]}
	r.label = instanceLabel(info.Name, "")
	r.relink(now, outlets)
	return r
}

func (r *responder) instance() string { return r.label + "." + serviceName }

// relink begins anew on other outlets.
func (r *responder) relink(now time.Time, outlets map[outlet]*link) {
	r.outlets, r.answers = outlets, make(map[outlet]answer)
	r.restart(now)
}

func (r *responder) restart(now time.Time) { r.phase, r.nextAt = 0, now }

// rename takes another name for people, and says goodbye to the former one.
func (r *responder) rename(now time.Time, name string) []packet {
	r.info.Name = name
	label := instanceLabel(name, "")
	if label == r.label {
		r.phase, r.nextAt = min(r.phase, probes), now
		return nil
	}
	out := r.goodbye()
	r.label, r.renamed, r.spoke = label, false, false
	r.restart(now)
	return out
}

// next returns when tick has something to do.
func (r *responder) next() time.Time {
	at := r.nextAt
	for _, a := range r.answers {
		if !a.due.IsZero() && a.due.Before(at) {
			at = a.due
		}
	}
	return at
}

// tick sends what is due.
func (r *responder) tick(now time.Time) (out []packet) {
	if !now.Before(r.nextAt) {
		switch r.phase++; {
		case r.phase <= probes:
			r.nextAt = now.Add(probePause)
			return r.everywhere(func(*link) []byte { return r.probe() })
		case r.phase <= probes+announcements:
			r.spoke = true
			r.nextAt = now.Add(announcePause << (r.phase - probes - 1))
			for on := range r.outlets {
				r.answers[on] = answer{last: now}
			}
			return r.everywhere(func(l *link) []byte { return r.response(l, ttlOther) })
		}
		r.nextAt = now.Add(never)
	}
	for on, a := range r.answers {
		if a.due.IsZero() || now.Before(a.due) {
			continue
		}
		r.answers[on] = answer{last: now}
		if b := r.response(r.outlets[on], ttlOther); b != nil {
			out = append(out, packet{b: b, on: on})
		}
	}
	return out
}

// goodbye takes back what was announced (RFC 6762 section 10.1).
func (r *responder) goodbye() []packet {
	if !r.spoke {
		return nil
	}
	return r.everywhere(func(l *link) []byte { return r.response(l, 0) })
}

func (r *responder) everywhere(make func(*link) []byte) (out []packet) {
	for on, l := range r.outlets {
		if b := make(l); b != nil {
			out = append(out, packet{b: b, on: on})
		}
	}
	return out
}

// handle takes a message that came on an outlet and returns what is answered at
// once; the rest becomes due.
func (r *responder) handle(now time.Time, m *message, on outlet, from netip.AddrPort) []packet {
	l, ok := r.outlets[on]
	if !ok {
		return nil
	}
	if r.contested(m) {
		r.yield(now)
		return nil
	}
	if m.response || r.phase <= probes {
		return nil
	}
	var meta, asked bool
	for i := range m.questions {
		switch q := &m.questions[i]; {
		case sameName(q.Name, metaName) && asks(q, dnsmessage.TypePTR):
			meta = true
		case sameName(q.Name, serviceName) && asks(q, dnsmessage.TypePTR):
			asked = asked || !r.known(m)
		case sameName(q.Name, r.instance()) && asks(q, dnsmessage.TypeSRV, dnsmessage.TypeTXT),
			sameName(q.Name, hostName(r.info.Key)) && asks(q, dnsmessage.TypeA, dnsmessage.TypeAAAA):
			asked = true
		}
	}
	switch {
	case !meta && !asked:
		return nil
	case from.Port() != port:
		return r.answerLegacy(now, m, l, on, from, asked)
	case meta:
		r.schedule(now, on, answerPause) // the full answer has the type, too
	case len(m.authorities) > 0:
		r.schedule(now, on, defendPause)
	default:
		r.schedule(now, on, answerPause)
	}
	return nil
}

// asks reports whether q asks for one of the types, or for any.
func asks(q *dnsmessage.Question, types ...dnsmessage.Type) bool {
	class := q.Class &^ flagCacheFlush
	if class != dnsmessage.ClassINET && class != dnsmessage.ClassANY {
		return false
	}
	for _, t := range types {
		if q.Type == t || q.Type == dnsmessage.TypeALL {
			return true
		}
	}
	return false
}

// schedule makes an answer due on an outlet, soon but not before the pause since
// the last one is over.
func (r *responder) schedule(now time.Time, on outlet, pause time.Duration) {
	a := r.answers[on]
	due := now.Add(answerDelay + r.jitter(100*time.Millisecond))
	if free := a.last.Add(pause); free.After(due) {
		due = free
	}
	if a.due.IsZero() || due.Before(a.due) {
		a.due = due
	}
	r.answers[on] = a
}

// known reports whether the asker has the answer already (RFC 6762 section 7.1).
func (r *responder) known(m *message) bool {
	for i := range m.answers {
		rec := &m.answers[i]
		ptr, ok := rec.Body.(*dnsmessage.PTRResource)
		if ok && sameName(rec.Header.Name, serviceName) && sameName(ptr.PTR, r.instance()) && rec.Header.TTL >= ttlOther/2 {
			return true
		}
	}
	return false
}

// contested reports whether somebody else uses the instance's name, or is about
// to while we are, too (RFC 6762 sections 8.2 and 9).
func (r *responder) contested(m *message) bool {
	records := m.authorities
	if m.response {
		records = m.answers
	} else if r.phase > probes {
		return false // a prober; the answer tells it that the name is taken
	}
	for i := range records {
		rec := &records[i]
		srv, ok := rec.Body.(*dnsmessage.SRVResource)
		if ok && rec.Header.TTL > 0 && sameName(rec.Header.Name, r.instance()) && !sameName(srv.Target, hostName(r.info.Key)) {
			return true
		}
	}
	return false
}

// yield takes a name that only this key can have. It happens once per name, so
// nobody can make the device rename itself for ever. There is no goodbye: it
// would take the other's name off the network.
func (r *responder) yield(now time.Time) {
	if r.renamed {
		return
	}
	r.renamed, r.spoke = true, false
	r.label = instanceLabel(r.info.Name, r.info.Key.Short())
	r.restart(now)
}
