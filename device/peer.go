package device

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/session"
	"github.com/latchkey-dev/latchkey/internal/stream"
)

// A peer is one authenticated session as the device sees it.
type peer struct {
	srv     *server
	sess    *session.Session
	key     latchkey.Fingerprint
	local   bool // in the sense of pairing; see server.isLocal
	source  packet.Meta
	since   time.Time
	paired  atomic.Bool // the key was seen to belong to a user
	tunnels tunnels
	work    work // what runs for the session
	log     *slog.Logger
}

// verify decides in the handshake whether a proven key may have a session at
// all: it belongs to a user, or some door is open to keys that do not.
func (s *server) verify(p secure.Peer) error {
	if s.access == nil {
		return nil // the hook decides on every operation
	}
	if _, known := s.access.Lookup(p.Key); known {
		return nil
	}
	if s.pairing.Modes(time.Now()) == 0 && s.dev.Authorize == nil {
		return fmt.Errorf("%w: key %s belongs to no user and no pairing mode is open", latchkey.ErrUnpaired, p.Key.Short())
	}
	return nil
}

// isLocal reports whether a session came from the device's own network: its
// source is on-link and no router forwarded any datagram of its handshake. On
// a loopback address it counts only when nothing else can reach the socket.
func (s *server) isLocal(p secure.Peer) bool {
	if !p.HopLimit255 {
		return false
	}
	if p.Meta.Src.Addr().IsLoopback() {
		return s.loopback && p.Meta.Dst.IsLoopback()
	}
	return packet.OnLink(p.Meta)
}

// accept runs one session from its handshake to its end.
func (s *server) accept(conn *secure.Conn) {
	proven := conn.Peer()
	p := &peer{
		srv: s, key: proven.Key, source: proven.Meta, local: s.isLocal(proven), since: time.Now(),
		log: s.log.With("peer", proven.Key.Short()),
	}
	p.sess = session.New(conn, session.Config{
		Handler: p.serveCoAP, Accept: p.openTunnel, MaxBody: s.limits().Body, Critical: conditional,
		Streams: stream.Limits{Streams: s.limits().Streams}, Log: s.log,
	})
	if err := s.enter(p); err != nil {
		s.log.Warn("session refused", "peer", p.key, "source", p.source.Src, "err", err)
		p.sess.Close(err)
		_ = p.sess.Serve() // returns at once: the session is closed
		return
	}
	remove := s.sessions.Add(p.sess)
	s.log.Info("session up", "peer", p.key, "user", p.subject().User, "source", p.source.Src, "path", acl.PathLocal)
	err := p.sess.Serve()
	s.leave(p)
	s.watchers.forget(p)
	p.work.wait()
	remove()
	s.log.Info("session down", "peer", p.key, "source", p.source.Src, ending(err))
}

// ending says why a session ended: a reason for what happens every day, an err
// for what should not.
func ending(err error) slog.Attr {
	code := latchkey.CodeOf(err)
	switch {
	case err == nil:
		return slog.String("reason", "closed")
	case errors.Is(err, session.ErrEnded):
		return slog.String("reason", "ended by the peer")
	case errors.Is(err, session.ErrSilent):
		return slog.String("reason", "silence")
	case errors.Is(err, latchkey.ErrShutdown):
		return slog.String("reason", "shutdown")
	case code != latchkey.CodeInternal:
		return slog.String("reason", code.String())
	}
	return slog.Any("err", err)
}

// enter counts p in, unless limits say no.
func (s *server) enter(p *peer) error {
	unpaired := p.subject().User == ""
	s.mu.Lock()
	defer s.mu.Unlock()
	strangers := 0
	for o := range s.peers {
		if o.subject().User == "" {
			strangers++
		}
	}
	switch {
	case len(s.peers) >= s.limits().Sessions:
		return fmt.Errorf("%w: %d sessions", latchkey.ErrTooMany, len(s.peers))
	case unpaired && s.access != nil && strangers >= s.limits().Unpaired:
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
	var work sync.WaitGroup
	for _, p := range s.all() {
		work.Go(func() { p.sess.Close(cause) })
	}
	work.Wait()
}

// subject looks up who owns the peer's key now.
func (p *peer) subject() acl.Subject {
	if p.srv.access == nil {
		return acl.Subject{}
	}
	subject, known := p.srv.access.Lookup(p.key)
	if known {
		p.paired.Store(true)
	}
	return subject
}

// question is what the door will be asked: facts that the device verified
// itself, and the operation that the peer asked for.
func (p *peer) question(action acl.Action, resource string) *acl.Request {
	subject := p.subject()
	return &acl.Request{
		Device: p.srv.id, Peer: p.key, User: subject.User, Role: subject.Role,
		Action: action, Resource: resource,
		Path: acl.PathLocal, Source: p.source.Src.Addr(), Time: time.Now(),
		KeyAdded: subject.Added, KeyOrigin: subject.Origin,
	}
}
