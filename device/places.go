package device

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/session"
)

const (
	// strangersFrom is how many strangers one part of the network can be. All that
	// come by relays are one part, which has half of the places.
	strangersFrom = 4
	// adminPlaces are kept for administrators.
	adminPlaces = 4
	// ownerPlaces is how many sessions one user, or one key of no user, always
	// has; of many, it is an eighth of all.
	ownerPlaces = 8
	// courtship is how long the steps of a pairing may lie apart.
	courtship = 30 * time.Second
)

// verify decides in the handshake whether a proven key may have a session at
// all: it belongs to a user, or some door is open to keys that do not.
func (s *server) verify(p secure.Peer) error { return s.admits(p.Key, s.isLocal(p)) }

// admits decides about a key, and about a peer that is local or not.
func (s *server) admits(key latchkey.Fingerprint, local bool) error {
	err := s.judges(key, local)
	if err != nil {
		subject, _ := s.access.Lookup(key)
		s.event(acl.Event{Kind: acl.EventSession, Outcome: acl.OutcomeRefused, Key: key, User: subject.User, Code: latchkey.CodeOf(err)})
	}
	return err
}

func (s *server) judges(key latchkey.Fingerprint, local bool) error {
	if s.access == nil || s.dev.Authorize != nil {
		return nil // the hook decides on every operation
	}
	subject, known := s.access.Lookup(key)
	switch {
	case known && !s.expired(subject), s.logins.Load().open(), s.pairing.ModesFor(s.clock.now(), local) != 0:
		return nil
	case known:
		return fmt.Errorf("%w: the access of key %s has expired", latchkey.ErrForbidden, key.Short())
	}
	return fmt.Errorf("%w: key %s belongs to no user, and nothing is open to strangers", latchkey.ErrUnpaired, key.Short())
}

// expired reports whether access has ended, or may have while the time is not
// known.
func (s *server) expired(subject acl.Subject) bool {
	now := s.clock.now()
	return !subject.Expires.IsZero() && (now.IsZero() || !now.Before(subject.Expires))
}

// stranger reports whether nobody vouches for the peer's key.
func (p *peer) stranger() bool {
	subject := p.subject()
	if subject.User != "" && !p.srv.expired(subject) {
		return false
	}
	c := p.credential.Load()
	return c == nil || !c.holds(p.srv.clock.now())
}

// nobody reports whether the peer is a stranger for whoever decides. A hook may
// know keys by itself: then those are strangers that it has never let do anything.
func (p *peer) nobody() bool {
	s := p.srv
	return s.access != nil && p.stranger() && !(s.dev.Authorize != nil && p.admitted.Load())
}

// courts reports whether the peer is about to become somebody, which takes some
// steps.
func (p *peer) courts(now time.Time) bool {
	at := p.courting.Load()
	return at != nil && now.Sub(*at) < courtship
}

// court notes a step of a pairing, or of a login.
func (p *peer) court(at time.Time) { p.courting.Store(&at) }

// owner says whose place the session takes: a user's, or one of its own key.
func (p *peer) owner() string {
	if user := p.user(); user != "" {
		return "user " + user
	}
	return p.key.String()
}

// part names the part of the network that strangers share places by. Relays are
// the zero prefix.
func (p *peer) part() netip.Prefix {
	a := p.source().Addr().Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 56
	}
	prefix, _ := a.Prefix(bits) // fails for the zero address only
	return prefix
}

// enter counts p in, unless limits say no.
func (s *server) enter(p *peer) error {
	id, err := p.sess.ID()
	if err != nil {
		return err
	}
	p.id = id
	s.mu.Lock()
	defer s.mu.Unlock()
	all, own, owner := s.limits().Sessions, 0, p.owner()
	for o := range s.peers {
		if o.owner() == owner {
			own++
		}
	}
	kept := min(adminPlaces, all/2)
	switch {
	case s.stopping:
		return latchkey.ErrShutdown
	case len(s.peers) >= all:
		return fmt.Errorf("%w: %d sessions", latchkey.ErrTooMany, all)
	case own >= max(ownerPlaces, all/8):
		return fmt.Errorf("%w: %d sessions of %s", latchkey.ErrTooMany, own, owner)
	case s.access != nil && len(s.peers) >= all-kept && !p.administers():
		return fmt.Errorf("%w: %d sessions, and the other places are for administrators", latchkey.ErrTooMany, len(s.peers))
	}
	if p.nobody() {
		if err := s.makeRoom(p, time.Now()); err != nil {
			return err
		}
	}
	s.peers[p] = struct{}{}
	return nil
}

func (p *peer) administers() bool {
	subject := p.subject()
	return subject.Role == acl.RoleAdmin && !p.srv.expired(subject)
}

// makeRoom sees to it that there is a place for a stranger: where too many are,
// the oldest that is about to become nobody goes. The caller holds mu.
func (s *server) makeRoom(p *peer, now time.Time) error {
	parts := make(map[netip.Prefix][]*peer)
	count := 0
	for o := range s.peers {
		if !o.yielded && o.nobody() {
			parts[o.origin] = append(parts[o.origin], o)
			count++
		}
	}
	all := s.limits().Unpaired
	most := strangersFrom
	if !p.origin.IsValid() {
		most = max(all/2, 1)
	}
	var goes *peer
	switch {
	case len(parts[p.origin]) >= most:
		goes = oldest(parts[p.origin], now)
	case count >= all: // of the part that has most places, so that one cannot push the others out
		for _, list := range parts {
			if one := oldest(list, now); one != nil && (goes == nil || before(one, len(list), goes, len(parts[goes.origin]))) {
				goes = one
			}
		}
	default:
		return nil
	}
	if goes == nil {
		return fmt.Errorf("%w: %d sessions with unpaired keys, %d of them from there", latchkey.ErrTooMany, count, len(parts[p.origin]))
	}
	goes.yielded = true
	goes.expelled.take(&goes.work, func() { goes.end(fmt.Errorf("device: %w: another stranger needs the place", latchkey.ErrTooMany)) })
	return nil
}

// oldest returns the stranger that has waited longest without a try to become
// somebody; nil if all of them try.
func oldest(list []*peer, now time.Time) (out *peer) {
	for _, p := range list {
		if !p.courts(now) && (out == nil || p.since.Before(out.since)) {
			out = p
		}
	}
	return out
}

// before reports whether a, of a part of m strangers, goes before b, of a part of n.
func before(a *peer, m int, b *peer, n int) bool {
	return m > n || m == n && a.since.Before(b.since)
}

// confirm decides again about a session that has its place. What changes from here
// on it hears of; what has changed since the handshake counts too.
func (s *server) confirm(p *peer) error {
	if p.ownerless() {
		return fmt.Errorf("device: key %s: %w", p.key.Short(), latchkey.ErrRevoked)
	}
	return s.judges(p.key, p.local)
}

func (s *server) leave(p *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.peers, p)
}

// all returns the sessions of this moment.
func (s *server) all() []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	peers := make([]*peer, 0, len(s.peers))
	for p := range s.peers {
		peers = append(peers, p)
	}
	return peers
}

// endSessions says goodbye to everybody at once: a peer that does not answer
// must not make the others wait.
func (s *server) endSessions(cause error) {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	var work sync.WaitGroup
	for _, p := range s.all() {
		work.Go(func() { p.sess.Close(cause) })
	}
	work.Wait()
}

// running finds the session that a client wants new paths for.
func (s *server) running(id session.ID, key latchkey.Fingerprint) *peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.peers {
		if p.id == id && p.key == key {
			return p
		}
	}
	return nil
}
