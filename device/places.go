package device

import (
	"fmt"
	"sync"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/session"
)

// verify decides in the handshake whether a proven key may have a session at
// all: it belongs to a user, or some door is open to keys that do not.
func (s *server) verify(p secure.Peer) error { return s.admits(p.Key, s.isLocal(p)) }

// admits decides about a key, and about a peer that is local or not.
func (s *server) admits(key latchkey.Fingerprint, local bool) error {
	if s.access == nil || s.dev.Authorize != nil {
		return nil // the hook decides on every operation
	}
	if _, known := s.access.Lookup(key); known {
		return nil
	}
	if s.logins.Load().open() || s.pairing.ModesFor(s.clock.now(), local) != 0 {
		return nil
	}
	err := fmt.Errorf("%w: key %s belongs to no user, and nothing is open to strangers", latchkey.ErrUnpaired, key.Short())
	s.event(acl.Event{Kind: acl.EventSession, Outcome: acl.OutcomeRefused, Key: key, Code: latchkey.CodeUnpaired})
	return err
}

// stranger reports whether nobody vouches for the peer's key.
func (p *peer) stranger() bool {
	c := p.credential.Load()
	return p.subject().User == "" && (c == nil || !c.holds(p.srv.clock.now()))
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
	strangers := 0
	for o := range s.peers {
		if o.stranger() {
			strangers++
		}
	}
	switch {
	case s.stopping:
		return latchkey.ErrShutdown
	case len(s.peers) >= s.limits().Sessions:
		return fmt.Errorf("%w: %d sessions", latchkey.ErrTooMany, len(s.peers))
	case p.stranger() && s.access != nil && strangers >= s.limits().Unpaired:
		return fmt.Errorf("%w: %d sessions with unpaired keys", latchkey.ErrTooMany, strangers)
	}
	s.peers[p] = struct{}{}
	return nil
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
