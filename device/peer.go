package device

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/route"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/session"
	"github.com/latchkey-dev/latchkey/internal/stream"
	"github.com/latchkey-dev/latchkey/pairing"
)

// A peer is one authenticated session as the device sees it.
type peer struct {
	srv      *server
	sess     *session.Session
	key      latchkey.Fingerprint
	local    bool           // in the sense of pairing; see server.isLocal
	carrier  *route.Carrier // how datagrams reach the peer
	id       session.ID
	since    time.Time
	paired   atomic.Bool // the key was seen to belong to a user
	admitted atomic.Bool // the door has let an operation of it pass
	quiet    bool        // the path is silent; of tick
	log      *slog.Logger

	work       work // what runs for the session
	tunnels    tunnels
	requests   requests
	changes    changes
	transfers  turn // reviews what travels in blocks
	expelled   turn // ends the session
	ended      sync.Once
	refusals   *rate.Limiter              // of all sessions of the key
	credential atomic.Pointer[credential] // that the session has logged in with; nil: none
	exchange   *pairing.Exchange
	courting   atomic.Pointer[time.Time] // the newest step towards a pairing or a login that was not refused
	origin     netip.Prefix              // part of the network that it came from
	yielded    bool                      // it ends to make room; guarded by server.mu

	mu         sync.Mutex             // guards the three that follow
	adopted    *introduction          // that brought the newest paths; nil: the session came directly
	introduced int                    // introductions for the session
	failed     map[latchkey.Code]bool // how pairings of it have failed

	judged acl.PathKind // that what is open was last judged by; of tick
	lapsed bool         // the key or its user has expired; of tick
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

// accept runs a session that came directly to the device's socket.
func (s *server) accept(conn *secure.Conn) {
	m := conn.Peer().Meta
	kind := route.Direct // whoever forwards to the socket makes nobody local
	if s.isLocal(conn.Peer()) {
		kind = route.Local
	}
	carrier := route.NewCarrier()
	path := route.NewPath(kind, func(b []byte) error { return s.sock.Send(b, m.Src, m.Dst) }, m.Src)
	carrier.Add(path)
	conn.SetSend(carrier.Send)
	conn.Watch(func() { carrier.Heard(path) })
	s.run(conn, carrier, nil)
}

// run serves one session from its handshake to its end. from is the
// introduction that it began with, nil if it came directly.
func (s *server) run(conn *secure.Conn, carrier *route.Carrier, from *introduction) {
	proven := conn.Peer()
	budget := s.strikes.begin(proven.Key, s.limits(), time.Now())
	defer func() { s.strikes.end(proven.Key, time.Now()) }()
	p := &peer{
		srv: s, key: proven.Key, local: from == nil && s.isLocal(proven), carrier: carrier, since: time.Now(),
		refusals: budget, log: s.log.With("peer", proven.Key.Short()),
	}
	p.sess = session.New(conn, session.Config{
		Handler: p.serveCoAP, Accept: p.openTunnel, MaxBody: s.limits().Body, Critical: conditional,
		Streams: stream.Limits{Streams: s.limits().Streams}, Roams: s.attach.configured(), Tick: p.tick, Log: s.log,
	})
	if from != nil {
		from.receiver.Attach(p.sess)
		p.adopted = from
	}
	p.origin = p.part()
	err := errors.Join(p.beginPairing(), s.enter(p))
	if err == nil {
		err = s.confirm(p)
	}
	source, kind := p.source(), p.path()
	p.told(acl.Event{Kind: acl.EventSession}, err)
	if err != nil {
		s.leave(p)
		s.log.Warn("session refused", "peer", p.key, "source", source, "path", kind, "err", err)
		p.sess.Close(err)
		_ = p.sess.Serve() // returns at once: the session is closed
		return
	}
	remove := s.sessions.Add(p.sess)
	s.log.Info("session up", "peer", p.key, "user", p.subject().User, "source", source, "path", kind)
	err = p.sess.Serve()
	p.endPairing()
	s.leave(p)
	p.release()
	s.watchers.forget(p)
	p.work.wait()
	remove()
	word, why := ending(err)
	s.log.Info("session down", "peer", p.key, "source", source, "path", kind, word, why)
}

// quietAfter is how long a path from another network may be silent, although
// we send, before we see whether the basestation still hears us: without that,
// the client cannot bring us other paths.
const quietAfter = 500 * time.Millisecond

// tick looks after the paths of the session.
func (p *peer) tick(now time.Time) {
	p.carrier.Tick(now)
	kind := p.path()
	silent := p.carrier.Silence() >= quietAfter
	if silent && !p.quiet && kind != acl.PathLocal {
		p.srv.attach.doubt()
	}
	p.quiet = silent
	if kind != p.judged {
		if p.judged != "" { // what was allowed on one kind of path may not be on another
			p.reviewAll()
		}
		p.judged = kind
	}
	p.expire(now)
}

// expire looks for the end of rights that were given for a time.
func (p *peer) expire(now time.Time) {
	end := p.subject().Expires
	if over := !end.IsZero() && !now.Before(end); over != p.lapsed {
		p.lapsed = over
		p.reviewAll()
	}
	c := p.credential.Load()
	if c == nil || !c.over.IsZero() || now.Before(c.token.Expires) {
		return
	}
	if p.credential.CompareAndSwap(c, c.ended(now)) {
		p.reviewAll()
		p.event(acl.Event{Kind: acl.EventToken, Action: acl.TokenLogin, Outcome: acl.OutcomeOK, Object: c.token.Subject, Detail: "expired", Code: latchkey.CodeTokenExpired})
	}
}

// end ends the session and says why. The first cause counts.
func (p *peer) end(cause error) {
	p.ended.Do(func() {
		p.sess.Close(cause)
		e := acl.Event{Kind: acl.EventSession, Outcome: acl.OutcomeRefused, Object: "session", Code: latchkey.CodeOf(cause)}
		if errors.Is(cause, latchkey.ErrRevoked) {
			e.Kind, e.Outcome = acl.EventRevoke, acl.OutcomeOK
		}
		p.event(e)
	})
}

// ending says why a session ended: a reason for what happens every day, an err
// for what should not.
func ending(err error) (key string, why any) {
	code := latchkey.CodeOf(err)
	switch {
	case err == nil:
		return "reason", "closed"
	case errors.Is(err, session.ErrEnded):
		return "reason", "ended by the peer"
	case errors.Is(err, session.ErrSilent):
		return "reason", "silence"
	case errors.Is(err, latchkey.ErrShutdown):
		return "reason", "shutdown"
	case code != latchkey.CodeInternal:
		return "reason", code.String()
	}
	return "err", err
}

// path says how the peer's datagrams travel now; in doubt, the least trusted way
// that they may.
func (p *peer) path() acl.PathKind {
	kind, _, _ := p.carrier.Origin()
	return acl.PathKind(kind)
}

// source is the address that the peer's datagrams come from now; zero by way of
// a relay, whose addresses say nothing about the peer.
func (p *peer) source() netip.AddrPort {
	kind, remote, _ := p.carrier.Origin()
	if kind == route.Relay {
		return netip.AddrPort{}
	}
	return remote
}

// adopt makes i the introduction whose paths the session has. The one before
// has nothing to add once the client was heard by a path of i; sooner it is not
// given up, because the basestation can repeat an old offer of the client's.
func (p *peer) adopt(i *introduction) {
	if !p.work.begin() {
		i.close()
		return
	}
	p.mu.Lock()
	p.introduced++
	i.number = p.introduced
	p.mu.Unlock()
	p.carrier.DoubtLocal() // the client would not ask if all were well
	go func() {            // ends with the session, with i, or when another is adopted
		defer p.work.end()
		defer i.close()
		select {
		case <-i.meeting.Heard():
		case <-time.After(introTime):
			return
		case <-p.sess.Context().Done():
			return
		}
		p.mu.Lock()
		before := p.adopted
		if before != nil && before.number > i.number { // the client has moved on
			p.mu.Unlock()
			return
		}
		p.adopted = i
		p.mu.Unlock()
		if before != nil {
			before.replace()
		}
		select {
		case <-i.replaced:
		case <-p.sess.Context().Done():
		}
	}()
}

// release ends the introduction that the session has adopted.
func (p *peer) release() {
	p.mu.Lock()
	i := p.adopted
	p.adopted = nil
	p.mu.Unlock()
	if i != nil {
		i.replace()
	}
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
// itself, and the operation that the peer asked for. To pair and to log in are
// matters of the key alone: a token decides neither about others nor about the
// next one.
func (p *peer) question(action acl.Action, resource string) *acl.Request {
	subject := p.subject()
	q := &acl.Request{
		Device: p.srv.id, Peer: p.key, User: subject.User, Role: subject.Role,
		Action: action, Resource: resource,
		Path: p.path(), Source: p.source().Addr(), Time: p.srv.clock.now(),
		KeyAdded: subject.Added, KeyOrigin: subject.Origin, Expires: subject.Expires,
	}
	c := p.credential.Load()
	if c == nil || action == acl.TokenLogin || strings.HasPrefix(string(action), "pair:") {
		return q
	}
	if subject.User == "" {
		q.Token = &c.token
	}
	if c.holds(q.Time) {
		q.Claims = c.claims
		if subject.User == "" {
			q.Role = c.token.Role
		}
	}
	return q
}
