package stream

import (
	"context"
	"log/slog"
	"net"

	"github.com/latchkey-dev/latchkey"
)

// Limits bounds what one Mux holds. A zero field takes its default.
type Limits struct {
	Streams    int   // open at once, both ways; default 256
	Unanswered int   // opens of the peer that wait for Accept or Refuse; default 16
	Credit     int64 // bytes that the peer may have in our buffers, all streams together; default 8 MiB
}

// A Config says how a Mux works. It is copied.
type Config struct {
	Client bool               // initiates the association and opens streams
	Send   func([]byte) error // takes one SCTP packet; an error is loss
	Accept func(*Incoming)    // device: takes each open, on a goroutine of its own
	Limits Limits
	Log    *slog.Logger // nil: slog.Default()
}

// A Mux is the streams of one session.
type Mux struct{ cfg Config }

// New returns a Mux that does nothing before the first Open or Deliver.
func New(cfg Config) *Mux { return &Mux{cfg: cfg} }

// Deliver takes one SCTP packet that arrived. It never blocks.
func (m *Mux) Deliver(packet []byte) {}

// Open opens a stream to a service and returns when the peer answered.
func (m *Mux) Open(ctx context.Context, service string) (*Stream, error) {
	return nil, latchkey.ErrInternal
}

// OpenDatagram opens a flow of datagrams to a service.
func (m *Mux) OpenDatagram(ctx context.Context, service string) (*Flow, error) {
	return nil, latchkey.ErrInternal
}

// Exhausted reports whether the stream ids are nearly used up.
func (m *Mux) Exhausted() bool { return false }

// Close ends the association and every stream with cause.
func (m *Mux) Close(cause error) {}

// An Incoming is an open of the peer that waits for an answer.
type Incoming struct{}

// Service returns the id that the peer asked for.
func (in *Incoming) Service() string { return "" }

// Datagram reports whether the peer asked for a flow.
func (in *Incoming) Datagram() bool { return false }

// Context ends when the peer gave up or the Mux ended.
func (in *Incoming) Context() context.Context { return context.Background() }

// Accept answers yes to a stream.
func (in *Incoming) Accept() (*Stream, error) { return nil, latchkey.ErrInternal }

// AcceptDatagram answers yes to a flow.
func (in *Incoming) AcceptDatagram() (*Flow, error) { return nil, latchkey.ErrInternal }

// Refuse answers no.
func (in *Incoming) Refuse(code latchkey.Code) {}

// A Stream is one tunnel; it implements net.Conn.
type Stream struct{ net.Conn }

// CloseWrite ends our direction.
func (s *Stream) CloseWrite() error { return latchkey.ErrInternal }

// Reset ends both directions at once.
func (s *Stream) Reset(code latchkey.Code) {}

// A Flow carries datagrams; it implements net.Conn.
type Flow struct{ net.Conn }

// Reset ends the flow with a reason.
func (f *Flow) Reset(code latchkey.Code) {}
