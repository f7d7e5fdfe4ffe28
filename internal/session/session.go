package session

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/stream"
)

// First bytes that tell CoAP (version 1, RFC 7252 section 3) from SCTP (source
// port 5000, RFC 8261).
const (
	coapFirst = 0x40
	coapLast  = 0x7f
	sctpFirst = 0x13
)

// quietAfter is a silence after which a datagram is taken as a sign that a path
// works again, and what was lost meanwhile is sent again at once.
const quietAfter = 300 * time.Millisecond

// ErrSilent is the cause of a session whose peer was not heard for too long.
var ErrSilent = errors.New("session: nothing was heard from the peer for too long")

// ErrEnded is the cause of a session that the peer ended without a reason.
var ErrEnded = errors.New("session: the peer ended the session")

// Config says what a session does with what arrives.
type Config struct {
	Client  bool                   // this side dialled: it initiates SCTP and opens streams
	Handler coap.Handler           // answers requests; nil answers none
	Accept  func(*stream.Incoming) // decides on streams; nil on the client
	Streams stream.Limits
	Roams   bool                // the session may move to paths that carry less than the first one
	Tick    func(now time.Time) // called about every 100 ms while the session is in a Set; may be nil
	Silence time.Duration       // of the peer, after which the session ends; 0 is 72 s

	MaxBody  int          // of a CoAP message, bytes; 0 is internal/coap's default
	Critical []uint16     // critical CoAP options that Handler understands, see coap.Config
	Log      *slog.Logger // nil is slog.Default()
}

// A Session is one authenticated connection. Its methods may be called
// concurrently.
type Session struct {
	conn    *secure.Conn
	coap    *coap.Endpoint
	streams *stream.Mux
	log     *slog.Logger
	client  bool
	beat    func(now time.Time)

	served chan struct{} // closed when no more datagrams are taken
	quiet  atomic.Bool   // nothing was heard for a while

	ctx  context.Context
	end  context.CancelCauseFunc
	once sync.Once

	mu      sync.Mutex // guards what follows
	keep    keepalive
	pinging bool
	said    latchkey.Code // the peer's last word; 0: none
	over    bool          // nothing is started any more
	work    sync.WaitGroup
}

// New makes a session on conn. It carries nothing until Serve runs.
func New(conn *secure.Conn, c Config) *Session {
	log := c.Log
	if log == nil {
		log = slog.Default()
	}
	send := func(b []byte) error {
		_, err := conn.Write(b)
		return err
	}
	limit := c.Silence
	if limit == 0 {
		limit = lostAfter
	}
	s := &Session{conn: conn, log: log, keep: keepalive{limit: limit}, client: c.Client, beat: c.Tick, served: make(chan struct{})}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	s.coap = coap.New(coap.Config{Send: send, Handler: c.Handler, MaxBody: c.MaxBody, Critical: c.Critical, Log: log})
	s.streams = stream.New(stream.Config{
		Client: c.Client, MTU: packetSize(conn.Peer(), c.Roams), Send: send, Accept: c.Accept, Limits: c.Streams, Log: log,
	})
	return s
}

// Serve carries datagrams until the session ends and everything in it has
// stopped. It returns the cause: nil after Close(nil), ErrEnded when the peer
// said goodbye without more, *latchkey.RemoteError when it said why.
func (s *Session) Serve() error {
	err := s.conn.Serve(s.dispatch)
	close(s.served)
	if errors.Is(err, io.EOF) {
		err = s.farewell()
	}
	s.finish(err)
	s.coap.Wait()
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.work.Wait()
	if cause := context.Cause(s.ctx); !errors.Is(cause, net.ErrClosed) {
		return cause
	}
	return nil
}

func (s *Session) dispatch(b []byte) {
	if s.quiet.Load() && s.quiet.CompareAndSwap(true, false) {
		s.streams.Again()
	}
	switch {
	case len(b) == 0:
	case s.client && reason(b) != 0:
		s.mu.Lock()
		s.said = reason(b)
		s.mu.Unlock()
		s.streams.Ending(s.farewell())             // before they are reset, which says less
		s.start(func() { s.finish(s.farewell()) }) // in case close_notify is lost
	case b[0] >= coapFirst && b[0] <= coapLast:
		s.coap.Deliver(b)
	case b[0] == sctpFirst:
		s.streams.Deliver(b)
	}
}

// farewell is why the peer ended the session.
func (s *Session) farewell() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said == 0 {
		return ErrEnded
	}
	return &latchkey.RemoteError{Op: "session", Peer: s.conn.Peer().Key, Code: s.said}
}

// start runs f on a goroutine that Serve waits for, unless Serve is done.
func (s *Session) start(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.work.Go(f)
	}
}

// Close ends the session: streams are reset with the code of cause, the peer
// is told goodbye, and Serve returns. A nil cause is an ordinary end.
func (s *Session) Close(cause error) { s.finish(cause) }

func (s *Session) finish(cause error) {
	s.once.Do(func() {
		if cause == nil {
			cause = net.ErrClosed
		}
		if s.client {
			s.coap.Settle(byeTime) // what was answered before the end was answered
		}
		s.end(cause)
		bye := goodbye(cause)
		if bye != nil && !s.client {
			_, _ = s.conn.Write(bye) // before the streams, whose own reasons wait behind what is under way
		}
		s.streams.Close(cause)
		if bye != nil && !s.client {
			_, _ = s.conn.Write(bye) // in case the first is lost; close_notify follows anyway
			select {
			case <-s.served: // the client has read it, and ended the session itself
			case <-time.After(byeTime):
			}
		}
		s.coap.Close()
		if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
			s.log.Debug("close session", "peer", s.conn.Peer().Key, "err", err)
		}
	})
}

// Context ends with the session; context.Cause says why.
func (s *Session) Context() context.Context { return s.ctx }

// Reason returns why the session has ended or, by the word of the peer, is about
// to; nil while it goes on.
func (s *Session) Reason() error {
	s.mu.Lock()
	said := s.said
	s.mu.Unlock()
	if cause := context.Cause(s.ctx); cause != nil || said == 0 {
		return cause
	}
	return s.farewell()
}

// Peer returns what the handshake proved.
func (s *Session) Peer() secure.Peer { return s.conn.Peer() }

// CoAP returns the endpoint for requests.
func (s *Session) CoAP() *coap.Endpoint { return s.coap }

// Streams returns the multiplexer of tunnels.
func (s *Session) Streams() *stream.Mux { return s.streams }

// Export returns keying material bound to this session (RFC 5705).
func (s *Session) Export(label string, n int) ([]byte, error) { return s.conn.Export(label, n) }

// An ID names a session between its two ends.
type ID [16]byte

// ID returns the name of the session, which only its two ends know.
func (s *Session) ID() (ID, error) {
	b, err := s.conn.Export("EXPORTER-latchkey-session", len(ID{}))
	if err != nil {
		return ID{}, err
	}
	return ID(b), nil
}

// Deliver takes a datagram that arrived for this session by any path, and
// reports whether it was authentic, see secure.Conn.Deliver.
func (s *Session) Deliver(b []byte, m packet.Meta) bool { return s.conn.Deliver(b, m) }

// Ping measures one round trip to the peer.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	if err := s.coap.Ping(ctx); err != nil {
		if cause := context.Cause(s.ctx); cause != nil {
			return 0, cause
		}
		return 0, err
	}
	return time.Since(start), nil
}

// LastHeard returns when something authentic last came from the peer.
func (s *Session) LastHeard() time.Time { return s.conn.LastHeard() }

// Up reports whether the path carries datagrams, as far as keep-alive knows.
func (s *Session) Up() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.keep.down
}

// tick runs what is due; the Set calls it.
func (s *Session) tick(now time.Time) {
	s.coap.Tick(now)
	if now.Sub(s.conn.LastHeard()) > quietAfter && !s.quiet.Swap(true) {
		s.streams.Silent()
	}
	if s.beat != nil {
		s.beat(now)
	}
	s.mu.Lock()
	verdict := s.keep.step(now, s.conn.LastHeard())
	ping := verdict == probe && !s.pinging
	s.pinging = s.pinging || ping
	s.mu.Unlock()
	switch {
	case verdict == lost:
		s.start(func() { s.finish(ErrSilent) }) // may wait for the peer; the ticker must not
	case ping:
		s.start(s.probe) // ends with the answer, probeEvery or the session
	}
}

// probe sends one keep-alive; what counts is that anything at all is heard.
func (s *Session) probe() {
	ctx, cancel := context.WithTimeout(s.ctx, probeEvery)
	defer cancel()
	_ = s.coap.Ping(ctx) // silence is judged by LastHeard alone
	s.mu.Lock()
	s.pinging = false
	s.mu.Unlock()
}
