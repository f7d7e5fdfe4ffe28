package rendezvous

import (
	"sync/atomic"

	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/session"
)

// A Receiver takes what comes by the paths of a meeting: first for a handshake,
// if the session is new, and then for the session.
type Receiver struct {
	Handshake *secure.Handshake // nil: the session runs already
	session   atomic.Pointer[session.Session]
}

// Attach makes what comes from now on go to s.
func (r *Receiver) Attach(s *session.Session) { r.session.Store(s) }

// Deliver takes a datagram; see Config.Deliver.
func (r *Receiver) Deliver(b []byte, m packet.Meta) (taken, authentic bool) {
	if s := r.session.Load(); s != nil {
		authentic = s.Deliver(b, m)
		return authentic, authentic
	}
	if r.Handshake == nil {
		return false, false
	}
	r.Handshake.Deliver(b, m)
	return true, false
}
