package stream

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/pion/sctp"

	"github.com/latchkey-dev/latchkey"
)

// Read implements net.Conn.
func (s *Stream) Read(p []byte) (int, error) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	b, err := s.await()
	if err != nil || len(p) == 0 {
		return 0, err
	}
	n := copy(p, b)
	s.consume(n)
	return n, nil
}

// WriteTo implements io.WriterTo: it writes what the peer sends to w, from the
// buffer it lies in, until the peer ends its direction. It returns the error
// of Read, nil for io.EOF, or of w.
func (s *Stream) WriteTo(w io.Writer) (int64, error) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	var total int64
	for {
		b, err := s.await()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(b)
		total += int64(n)
		s.consume(n)
		if err != nil {
			return total, err
		}
	}
}

// await waits for payload and returns what lies at the head of the buffer.
func (s *Stream) await() ([]byte, error) {
	for {
		s.mu.Lock()
		b, err := s.in.next()
		s.mu.Unlock()
		if b != nil || err != nil {
			return b, err
		}
		<-s.in.wake
	}
}

// next returns payload, or why there will be none, or neither.
func (in *inbound) next() ([]byte, error) {
	if in.err != nil {
		return nil, in.err
	}
	if err := in.deadline.err(); err != nil {
		return nil, err
	}
	if b := in.buf.next(); b != nil {
		return b, nil
	}
	if in.fin {
		return nil, io.EOF
	}
	in.win.starved = true
	return nil, nil
}

// consume takes n bytes out of the buffer and gives the peer credit for them.
func (s *Stream) consume(n int) {
	rtt := s.m.rtt()
	s.mu.Lock()
	if s.in.err != nil {
		s.mu.Unlock()
		return
	}
	s.in.buf.discard(n)
	credit := s.in.win.consume(n, time.Now(), rtt)
	s.settleLocked()
	fin := s.in.fin
	s.mu.Unlock()
	if credit > 0 && !fin {
		_ = s.c.control(control{kind: controlCredit, credit: credit}) // fails only at the end
	}
}

// reserve implements receiver.
func (s *Stream) reserve(n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.in.err != nil {
		return make([]byte, n)
	}
	return s.in.buf.reserve(n)
}

// tooLarge implements receiver.
func (s *Stream) tooLarge() receiver {
	s.violated("a message is too large")
	return s
}

// ended implements receiver. A channel that closes before both directions have
// ended was cut off. The peer may have seen our fin before CloseWrite is back.
func (s *Stream) ended() {
	s.mu.Lock()
	orderly := s.in.fin && s.out.ending
	s.out.fin = s.out.fin || orderly
	done := s.settleLocked()
	s.mu.Unlock()
	switch {
	case done:
		s.release(nil) // read closes the channel
	case !orderly:
		s.endedByPeer("tunnel", latchkey.CodeReset)
	}
}

// receive implements receiver.
func (s *Stream) receive(ppi sctp.PayloadProtocolIdentifier, b []byte) receiver {
	var complaint string
	switch ppi {
	case ppiText:
		complaint = s.receiveControl(b)
	case ppiBinary:
		complaint = s.receivePayload(len(b))
	case ppiEmpty:
		complaint = s.receivePayload(0)
	case ppiDCEP:
		complaint = s.receiveDCEP(b)
	default:
		complaint = "a message of an unknown kind"
	}
	if complaint != "" {
		s.violated(complaint)
	}
	return s
}

// receivePayload takes n bytes that lie in the buffer.
func (s *Stream) receivePayload(n int) (complaint string) {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return ""
	}
	offered := s.state == stateOffered
	closed := s.in.err != nil
	switch {
	case s.in.fin:
		complaint = "payload after fin"
	case s.state == stateAsked:
		complaint = "payload before the answer"
	case s.flow != nil:
		complaint = "payload on the reliable channel of a flow"
	case !s.in.win.receive(n):
		complaint = "payload beyond credit"
	case !closed:
		s.in.buf.commit(n)
	}
	s.mu.Unlock()
	s.in.wake.set()
	switch {
	case complaint != "":
	case closed:
		s.abort(latchkey.CodeReset, net.ErrClosed)
	case offered:
		s.m.offer(s, false)
	}
	return complaint
}

// receiveDCEP takes the acknowledgement of our open (RFC 8832 section 5.2).
func (s *Stream) receiveDCEP(b []byte) (complaint string) {
	if !s.m.cfg.Client || !isDCEPAck(b) {
		return "an unexpected message of DCEP"
	}
	return s.skip()
}

// skip gives back the room that a message without payload lies in.
func (s *Stream) skip() (complaint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over && s.in.err == nil {
		s.in.buf.commit(0)
	}
	return ""
}

// receiveControl takes a control message.
func (s *Stream) receiveControl(b []byte) (complaint string) {
	c, err := parseControl(b)
	_ = s.skip()
	if err != nil {
		return "a malformed control message"
	}
	switch c.kind {
	case controlAccept:
		return s.receiveAccept(c.credit)
	case controlRefuse:
		return s.receiveRefuse(c.code)
	case controlCredit:
		return s.receiveCredit(c.credit)
	case controlFin:
		return s.receiveFin()
	case controlReset:
		s.endedByPeer("tunnel", c.code)
	}
	return ""
}

func (s *Stream) receiveAccept(credit int64) (complaint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return ""
	}
	if s.state != stateAsked {
		return "an answer that was not awaited"
	}
	s.state, s.out.credit = stateAccepted, credit
	close(s.opened)
	return ""
}

func (s *Stream) receiveRefuse(code latchkey.Code) (complaint string) {
	s.mu.Lock()
	asked := s.state == stateAsked
	s.mu.Unlock()
	if !asked {
		return "an answer that was not awaited"
	}
	s.endedByPeer("open", code)
	return ""
}

func (s *Stream) receiveCredit(credit int64) (complaint string) {
	s.mu.Lock()
	offered := s.state == stateOffered
	switch {
	case s.state == stateAsked:
		complaint = "credit before the answer"
	case credit < s.out.credit:
		complaint = "credit that shrinks"
	default:
		s.out.credit = credit
	}
	s.mu.Unlock()
	s.out.wake.set()
	if complaint == "" && offered {
		s.m.offer(s, credit == 0)
	}
	return complaint
}

func (s *Stream) receiveFin() (complaint string) {
	s.mu.Lock()
	st, flow := s.state, s.flow != nil
	switch {
	case st == stateAsked:
		complaint = "fin before the answer"
	case s.in.fin:
		complaint = "a second fin"
	}
	s.in.fin = true
	done := s.settleLocked()
	s.mu.Unlock()
	s.in.wake.set()
	switch {
	case complaint != "":
	case done:
		s.release(nil)
		s.c.close()
	case st == stateOffered:
		s.m.offer(s, false)
	case flow && st == statePending:
		s.endedByPeer("open", latchkey.CodeReset)
	case flow:
		_ = s.CloseWrite() // a flow ends as a whole
	}
	return complaint
}
