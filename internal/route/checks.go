package route

import (
	"net/netip"
	"slices"
	"time"

	"github.com/pion/stun/v4"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

const (
	maxSources = 64   // addresses that the checks of one peer may come from
	maxPending = 1024 // requests of one route that wait for an answer
)

// How often a pair of addresses is checked. The agent asks for more.
const (
	eagerTime     = 500 * time.Millisecond  // at first, as often as the agent likes
	eagerInterval = 250 * time.Millisecond  // then, until there is an answer
	idleInterval  = 3500 * time.Millisecond // then; the agent asks every 2 s, so this makes it 4
)

// A pace is when one pair of addresses was checked.
type pace struct{ first, last time.Time }

// allow reports whether the pair may be checked now, idle if it has answered
// and no answer is urgent.
func (p *pace) allow(idle bool, now time.Time) bool {
	interval := eagerInterval
	if idle {
		interval = idleInterval
	}
	if p.first.IsZero() {
		p.first = now
	}
	if now.Sub(p.first) >= eagerTime && now.Sub(p.last) < interval {
		return false
	}
	p.last = now
	return true
}

// pair names a pace.
type pair struct{ local, remote netip.AddrPort }

// sendCheck sends a STUN message of the agent. Checks that come too fast are
// swallowed: a peer can name many addresses that are not its own.
func (r *Route) sendCheck(c *candidateConn, b []byte, to netip.AddrPort) error {
	if !isSTUN(b) {
		return nil // the agent has nothing else to say
	}
	if typeOf(b) == bindingRequest && !r.noteCheck(c, b, to) {
		return nil
	}
	return r.hub.cfg.Send(b, to, c.local.Addr())
}

// noteCheck reports whether a check may be sent, and waits for its answer.
func (r *Route) noteCheck(c *candidateConn, b []byte, to netip.AddrPort) bool {
	_, nominates := attribute(b, stun.AttrUseCandidate)
	id, now := transactionOf(b), time.Now()
	r.mu.Lock()
	key := pair{c.local, to}
	p := r.paces[key]
	if p == nil {
		p = &pace{}
		r.paces[key] = p
	}
	last, answers := r.checked[to]
	lapses := answers && now.Sub(last) > lostAfter && r.lapsed != to
	if lapses {
		r.lapsed = to
	}
	allowed := !r.closed && p.allow(answers && !nominates, now)
	var old []transaction
	if allowed {
		r.pending = append(r.pending, id)
		if len(r.pending) > maxPending {
			old = slices.Clone(r.pending[:maxPending/2])
			r.pending = slices.Delete(r.pending, 0, maxPending/2)
		}
	}
	r.mu.Unlock()
	if lapses {
		r.report(func() {})
	}
	if allowed {
		r.hub.forget(old...)
		r.hub.expect(id, &request{to: to, conn: c})
	}
	return allowed
}

// admit reports whether a check from src may reach the agent. One from a new
// address must be authentic, so that only the peer can use up the room.
func (r *Route) admit(b []byte, src netip.AddrPort) bool {
	r.mu.Lock()
	known, full := slices.Contains(r.sources, src), len(r.sources) >= maxSources
	r.mu.Unlock()
	if known {
		return true
	}
	if full || !r.filter.remote(src) || !authentic(b, r.pwd) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sources) >= maxSources {
		return false
	}
	r.sources = append(r.sources, src)
	return true
}

// push hands a check to the candidate that it was sent to.
func (r *Route) push(b []byte, m packet.Meta) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found *candidateConn
	for _, c := range r.conns {
		if c.local.Addr() == m.Dst {
			found = c
			break
		}
		if found == nil && c.local.Addr().Is4() == m.Src.Addr().Is4() {
			found = c
		}
	}
	if found != nil {
		found.push(b, m.Src)
	}
}

// answered takes the answer to a check of ours. If it is the peer's own, then
// the address is the peer's, DTLS from there is, and it consents to receive
// more (RFC 7675). Requests of the peer are no consent: whoever receives what
// we send may not be who sends them.
func (r *Route) answered(c *candidateConn, b []byte, src netip.AddrPort) {
	genuine := typeOf(b) == bindingSuccess && authentic(b, r.peerPassword())
	id := transactionOf(b)
	r.mu.Lock()
	if i := slices.Index(r.pending, id); i >= 0 {
		r.pending = slices.Delete(r.pending, i, i+1)
	}
	_, known := r.checked[src]
	genuine = genuine && !r.closed && (known || len(r.checked) < maxSources)
	returns := genuine && r.lapsed == src
	if genuine {
		r.checked[src] = time.Now()
	}
	if returns {
		r.lapsed = netip.AddrPort{}
	}
	r.mu.Unlock()
	if genuine && !known {
		r.hub.trust(src, r)
	}
	if returns {
		r.report(func() {})
	}
	c.push(b, src)
}

func (r *Route) peerPassword() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.remotePwd
}
