package stream

import (
	"fmt"
	"net"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// lingerTime is how long a stream that we closed waits for the peer's fin.
const lingerTime = time.Minute

// CloseWrite ends our direction: the peer reads io.EOF after what was written
// before. A Write that waits fails with net.ErrClosed.
func (s *Stream) CloseWrite() error {
	s.mu.Lock()
	err, again := s.out.err, s.out.ending
	s.out.ending = true
	s.mu.Unlock()
	if err != nil || again {
		return err
	}
	s.out.wake.set()
	err = s.c.control(control{kind: controlFin})
	s.mu.Lock()
	s.out.fin = true
	done := s.settleLocked()
	s.mu.Unlock()
	if done {
		s.release(nil)
		s.c.close()
	}
	return err
}

// Close ends our direction as CloseWrite does and says that we read no more.
// As with TCP, the tunnel is reset if payload is unread or still arrives; also
// if the peer does not end its direction within a minute. It does not wait.
func (s *Stream) Close() error {
	s.mu.Lock()
	ended := s.over || s.in.err != nil
	unread := s.in.buf.size > 0 && !s.over
	if s.in.err == nil {
		s.in.err = net.ErrClosed
		s.in.buf.drop()
	}
	s.settleLocked()
	if !ended && !s.in.fin {
		s.linger = time.AfterFunc(lingerTime, func() { s.abort(latchkey.CodeReset, net.ErrClosed) })
	}
	s.mu.Unlock()
	s.in.wake.set()
	switch {
	case ended:
	case unread:
		s.abort(latchkey.CodeReset, net.ErrClosed)
	default:
		_ = s.CloseWrite() // fails when the association is over, and all with it
	}
	return nil
}

// Reset ends both directions at once and tells the peer why; 0 stands for
// CodeReset. What was not read is thrown away.
func (s *Stream) Reset(code latchkey.Code) {
	if code == 0 {
		code = latchkey.CodeReset
	}
	s.abort(code, net.ErrClosed)
}

// abort resets the stream; both directions fail with err from now on.
func (s *Stream) abort(code latchkey.Code, err error) {
	if s.endBoth(err, false) {
		s.release(err)
		s.c.last(control{kind: controlReset, code: code})
	}
}

// fail ends a stream because the Mux has ended. A direction that the peer had
// ended before can still be read.
func (s *Stream) fail(err error) {
	if s.endBoth(err, true) {
		s.release(err)
		s.c.close()
	}
}

// violated resets a stream whose peer broke the protocol.
func (s *Stream) violated(what string) {
	s.m.cfg.Log.Debug("tunnel reset", "op", s.service, "code", latchkey.CodeProtocol, "err", what)
	s.abort(latchkey.CodeProtocol, fmt.Errorf("stream: %s: %w", what, latchkey.ErrProtocol))
}

// endedByPeer ends a stream because the peer said so.
func (s *Stream) endedByPeer(op string, code latchkey.Code) {
	err := &latchkey.RemoteError{Op: op + " " + s.service, Code: code}
	if s.endBoth(err, false) {
		s.release(err)
		s.c.close()
	}
}

// endBoth ends both directions with err and reports whether they had not both
// ended before. With keep, what a finished direction holds can still be read.
func (s *Stream) endBoth(err error, keep bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.over = true
	if s.out.err == nil {
		s.out.err = err
	}
	if s.in.err == nil && !(keep && s.in.fin) {
		s.in.err = err
		s.in.buf.drop()
	}
	s.settleLocked()
	s.in.wake.set()
	s.out.wake.set()
	return true
}

// settleLocked gives credit back once nothing more can come, and reports
// whether, for the first time, both directions have ended in their own time.
func (s *Stream) settleLocked() bool {
	if s.in.err != nil && s.over || s.in.fin && s.in.buf.size == 0 {
		s.in.win.close()
	}
	if s.over || !s.in.fin || !s.out.fin {
		return false
	}
	s.over = true
	return true
}

// release ends what a stream counts for, once, when both directions have ended:
// with a cause, or without one in their own time. It comes before the peer is
// told, so that whoever hears of the end finds the place free.
func (s *Stream) release(cause error) {
	s.mu.Lock()
	if s.linger != nil {
		s.linger.Stop()
	}
	asked := s.state == stateAsked
	pending := s.state == stateOffered || s.state == statePending
	flow := s.flow
	s.mu.Unlock()
	s.m.mu.Lock()
	s.m.live--
	if pending {
		s.m.unanswered--
	}
	s.m.mu.Unlock()
	if flow != nil {
		flow.close()
	}
	if s.cancel != nil && cause != nil {
		s.cancel(cause)
	}
	if asked {
		close(s.opened)
	}
}
