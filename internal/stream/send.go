package stream

import "net"

// Write implements net.Conn. It waits while the peer gives no credit and while
// too much of this stream waits to be sent.
func (s *Stream) Write(p []byte) (int, error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	sent := 0
	for {
		n, err := s.awaitRoom(len(p) - sent)
		if err != nil || n == 0 {
			return sent, err
		}
		if err := s.c.payload(p[sent:sent+n], ppiBinary); err != nil {
			return sent, s.writeError(err)
		}
		sent += n
	}
}

// awaitRoom waits until a message may be sent and takes credit for it: want
// bytes, or less. It returns 0 at once when want is 0.
func (s *Stream) awaitRoom(want int) (int, error) {
	for {
		s.mu.Lock()
		err := s.out.check()
		room := s.out.credit - s.out.sent
		s.mu.Unlock()
		n := int(min(int64(want), room, maxSend))
		switch {
		case err != nil:
			return 0, err
		case want == 0:
			return 0, nil
		case room > 0 && s.mayQueue(n):
			s.mu.Lock()
			s.out.sent += int64(n)
			s.mu.Unlock()
			return n, nil
		}
		<-s.out.wake
	}
}

// mayQueue reports whether n more bytes may wait in the association. If not,
// the writer will be woken when half of what waits has gone.
func (s *Stream) mayQueue(n int) bool {
	limit := s.m.backlog()
	fits := func() bool {
		waiting := s.c.sctp.BufferedAmount()
		return waiting == 0 || waiting+uint64(n) <= limit
	}
	if fits() {
		return true
	}
	s.c.sctp.SetBufferedAmountLowThreshold(limit / 2)
	return fits() // it may have gone before the threshold was set
}

// check returns why nothing may be written now, if so.
func (out *outbound) check() error {
	switch {
	case out.err != nil:
		return out.err
	case out.ending:
		return net.ErrClosed
	}
	return out.deadline.err()
}

// writeError is what a Write fails with when the channel did: why the stream
// ended rather than how.
func (s *Stream) writeError(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.err != nil {
		return s.out.err
	}
	if s.out.ending {
		return net.ErrClosed
	}
	return err
}
